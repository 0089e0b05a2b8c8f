"""The page in a real browser, headless."""

import dataclasses
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request

import numpy as np
import pytest
from PIL import Image

import air_tf
from air_tf import cli
from air_tf.remote import RemoteModel
from air_tf.serving import PRETRAINED
from demo import Demo, DemoConfig, main, prepared
from tests.conftest import REPOSITORY
from tests.prediction_server import Server

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SECONDS = 60  # for what should take far less


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(*flags):
    """demo.py on a free port, and its address once it answers."""
    port = free_port()
    command = [sys.executable, REPOSITORY / "demo.py", "--port", port, *flags]
    process = subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY
    )
    for line in process.stdout:
        if "Running on" in line:
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return process, f"http://127.0.0.1:{port}"
    raise AssertionError(f"{process.wait()}")


@pytest.fixture(scope="module")
def demo():
    process, url = started("--saved-model", PRETRAINED)
    yield url
    process.terminate()
    process.wait()


@pytest.fixture
def browser_page(demo):
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 1300})
        page.set_default_timeout(1000 * SECONDS)
        page.hosts = set()
        page.on("request", lambda request: page.hosts.add(request.url.split("/")[:3][-1]))
        page.goto(demo)
        page.wait_for_selector("#drawing canvas")
        yield page
        browser.close()


def stroke(page, *points):
    """A line with the mouse through points given as fractions of the drawing."""
    box = page.locator("#drawing canvas").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def wait_for_count(page, count):
    page.wait_for_function(
        f"document.querySelector('#said').innerText.startsWith('{count} found')",
    )


@pytest.mark.slow
def test_two_strokes_apart_are_two_objects_and_no_other_host_is_asked(browser_page, demo):
    page = browser_page
    wait_for_count(page, 0)
    stroke(page, (0.25, 0.15), (0.25, 0.4))
    wait_for_count(page, 1)
    stroke(page, (0.7, 0.6), (0.7, 0.85))
    wait_for_count(page, 2)
    assert page.inner_text("#counts").split("\n")[1].strip() == "2 objects"
    assert page.locator("#boxes img, #steps img, #glimpses img").count() == 3
    page.click("#drawing button")
    wait_for_count(page, 0)
    hosts = {host for host in page.hosts if host and not host.startswith(("data:", "blob:"))}
    assert hosts == {demo.removeprefix("http://")}


@pytest.mark.slow
def test_a_dropped_picture_is_looked_at_and_a_bad_one_is_said(browser_page, tmp_path):
    page = browser_page
    picture = np.zeros((200, 200), np.uint8)
    picture[30:90, 50:58], picture[120:180, 140:148] = 255, 255
    Image.fromarray(picture).save(tmp_path / "strokes.png")
    page.set_input_files("#file input", str(tmp_path / "strokes.png"))
    wait_for_count(page, 2)
    page.reload()
    page.wait_for_selector("#drawing canvas")
    (tmp_path / "text.png").write_text("not a picture")
    page.set_input_files("#file input", str(tmp_path / "text.png"))
    page.wait_for_selector("text=Expected a PNG or JPEG picture")
    page.click("#test-image")  # it goes on
    page.wait_for_function("document.querySelector('#said').innerText.includes('found')")


def strokes():
    """Two dark strokes on white."""
    picture = np.full((200, 200, 3), 255, np.uint8)
    picture[30:90, 50:58], picture[120:180, 140:148] = 0, 0
    return picture


def test_it_shows_a_served_model_and_says_when_that_is_gone():
    server = Server(PRETRAINED)
    shown = Demo(RemoteModel(f"127.0.0.1:{server.port}"))
    probabilities, boxed, _, _, said = shown.said(strokes())
    assert said.startswith("2 found") and probabilities["2 objects"] > 0.9
    assert boxed.size == (300, 300)
    server.stop()
    assert "UNAVAILABLE" in shown.said(strokes())[-1]


@pytest.mark.parametrize("dark, ground", [(False, False), (False, True), (True, True)])
def test_models_of_either_polarity_see_light_strokes_on_black(small_config, dark, ground):
    config = dataclasses.replace(small_config, dark_objects=dark, subtract_ground=ground)
    model = air_tf.AIR(config)
    for picture in (strokes(), 255 - strokes()):
        image = prepared(model, picture)[0]
        assert image[0].max() < 0.05 and 0.01 < image.mean() < 0.2


def test_large_images_are_shown(small_config):
    model = air_tf.AIR(dataclasses.replace(small_config, image_shape=(200, 200, 1)))
    assert "found" in Demo(model).said(strokes())[-1]


@pytest.mark.parametrize(
    "flags, words",
    [
        ({"serving": "127.0.0.1:1"}, "UNAVAILABLE"),
        ({"saved_model": "nowhere"}, "Expected a SavedModel"),
        ({"serving": "a:1", "saved_model": "b"}, "Expected either"),
    ],
)
def test_what_cannot_be_shown_is_said(capsys, flags, words):
    assert cli.run(lambda: main(DemoConfig(**flags))) == cli.EXIT_BAD_INPUT
    assert words in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_a_port_in_use_is_said(demo, capsys):
    port = int(demo.rpartition(":")[2])
    config = DemoConfig(saved_model=str(PRETRAINED), port=port)
    assert cli.run(lambda: main(config)) == cli.EXIT_BAD_INPUT
    assert str(port) in capsys.readouterr().err.splitlines()[-1]
    assert urllib.request.urlopen(demo).status == 200  # the other goes on
