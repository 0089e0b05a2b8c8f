"""The page: what it sees, the command, and the page in a real browser."""

import base64
import functools
import io
import shutil
import signal
import socket
import struct
import threading
import zlib

import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

import air_tf
from air_tf import cli, replaced
from air_tf.commands.demo import DemoConfig, listening, main
from air_tf.demo import guard, look
from air_tf.demo.look import Demo, read_sent
from air_tf.demo.page import guarded_app
from air_tf.image_files import as_png
from air_tf.polarity import turned_for
from air_tf.serving.remote import RemoteModel
from air_tf.serving.served import PRETRAINED
from tests.page import (
    ADDRESS,
    CALL,
    FLAGS,
    SECONDS,
    Patches,
    file_of,
    seen,
    started,
    stroke,
    strokes,
    wait_for_count,
)
from tests.prediction_server import Server

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def temporary_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gradio")


@pytest.fixture(scope="module")
def app(temporary_folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(temporary_folder))
        return guarded_app(Demo(Patches()))


@pytest.fixture
def client(app):
    return TestClient(app, base_url=ADDRESS)


# What it sees


@pytest.fixture(scope="module")
def model_with(small_config):
    """Makes models with some settings, each once: these tests do not change them."""
    return functools.cache(lambda **changes: air_tf.AIR(replaced(small_config, **changes)))


@pytest.mark.parametrize("ground", [False, True])
@pytest.mark.parametrize("dark", [False, True])
def test_models_of_either_polarity_see_light_strokes_on_black(model_with, dark, ground):
    model = model_with(dark_objects=dark, subtract_ground=ground)
    turned = turned_for(model)
    for light in (False, True):
        image = np.asarray(model.prepare([as_png(turned(strokes(light=light)))]))[0]
        assert image[0].max() < 0.05 and 0.005 < image.mean() < 0.2


@pytest.mark.parametrize("ground", [False, True])
def test_dark_objects_on_a_light_textured_ground_are_left_to_a_model_of_dark_objects(model_with, ground):
    turned = turned_for(model_with(dark_objects=True, subtract_ground=ground))
    random = np.random.default_rng(0)
    for _ in range(200):
        texture = np.kron(random.normal(225, 12, (10, 10, 1)), np.ones((4, 4, 3)))
        y, x = random.integers(5, 25, 2)
        texture[y : y + 10, x : x + 10] = 60
        picture = np.clip(texture, 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(turned(picture), picture)


def test_a_model_of_light_objects_sees_the_negative_of_a_light_ground(model_with):
    turned = turned_for(model_with(dark_objects=False, subtract_ground=False))
    paper = np.random.default_rng(0).integers(150, 190, (40, 40, 3)).astype(np.uint8)
    np.testing.assert_array_equal(turned(paper), 255 - paper)
    np.testing.assert_array_equal(turned(255 - paper), 255 - paper)


def test_own_pictures_of_light_objects_keep_their_grey_ground(model_with):
    turned = turned_for(model_with(dark_objects=False, subtract_ground=True))
    table = np.full((40, 40, 3), 180, np.uint8)
    table[10:20, 10:20] = 240
    np.testing.assert_array_equal(turned(table), table)


def test_own_pictures_are_turned_by_what_stands_out_not_by_their_ground(model_with):
    """A dark ground with darker objects, and a light one with lighter ones."""
    for dark in (False, True):
        turned = turned_for(model_with(dark_objects=dark, subtract_ground=True))
        for ground, ink in (90, 10), (150, 60), (170, 250), (60, 140):
            table = np.full((40, 40, 3), ground, np.uint8)
            table[10:20, 10:20] = ink
            wrong = (ink < ground) != dark
            np.testing.assert_array_equal(turned(table), 255 - table if wrong else table)


def test_pictures_are_never_turned_for_a_model_with_a_background(small_config):
    for background in ("mean", "vae"):
        model = air_tf.AIR(replaced(small_config, background=background, composition="over"))
        turned, light = turned_for(model), strokes(light=False)
        np.testing.assert_array_equal(turned(light), light)
        np.testing.assert_array_equal(turned(255 - light), 255 - light)


def test_large_images_are_shown(small_config):
    model = air_tf.AIR(replaced(small_config, image_shape=(200, 200, 1)))
    assert "found" in Demo(model).look(strokes()).said


def test_it_shows_a_served_model_and_says_when_that_is_gone():
    server = Server(PRETRAINED)
    client = TestClient(guarded_app(Demo(RemoteModel(f"127.0.0.1:{server.port}"))), base_url=ADDRESS)
    assert seen(client, file_of(strokes()))[1].startswith("2 found")
    server.stop()
    assert "UNAVAILABLE" in seen(client, file_of(strokes()))[1]


# What it answers


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_picture_is_counted_and_shown_without_a_file(client, temporary_folder, count):
    pictures, said = seen(client, file_of(strokes(count)))
    assert said.startswith(f"{count} found")
    for picture in pictures:
        file = base64.b64decode(picture.partition("base64,")[2].partition('"')[0])
        assert Image.open(io.BytesIO(file)).size > (30, 30)
    assert not list(temporary_folder.iterdir())


def test_the_page_and_its_test_images_are_answered(client):
    assert "<!doctype html>" in client.get("/").text
    said = client.post(CALL, json={"data": [], "fn_index": 2}).json()["data"][-1]
    assert "found" in said


def png_header(width, height):
    """The beginning of a PNG file of so many pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 100) + b"IDAT"


@pytest.mark.parametrize(
    "file, words",
    [
        (b"", "is none, or is damaged"),
        (b"not a picture", "is none, or is damaged"),
        (b"GIF89a" + bytes(100), "is none, or is damaged"),
        (file_of(strokes())[:200], "is none, or is damaged"),
        (png_header(8000, 8000), "8,000 x 8,000 pixels"),
        (png_header(60_000, 60_000), "far more"),
    ],
)
def test_bad_pictures_are_said_and_nothing_of_the_program(client, file, words):
    pictures, said = seen(client, file)
    assert words in said and said.startswith("**Expected a PNG or JPEG picture of at most 25,000,000")
    assert "object at" not in said and "<" not in said
    assert not any("img" in str(picture) for picture in pictures)  # what was there stays


def test_jpeg_is_shrunk_while_it_is_decoded(monkeypatch):
    sizes, original = [], look.as_array
    monkeypatch.setattr(look, "as_array", lambda p, *rest: sizes.append(p.size) or original(p, *rest))
    file = file_of(np.zeros((4200, 4200), np.uint8), "jpeg")
    assert read_sent(file).shape == (1024, 1024, 3)
    assert sizes == [(2100, 2100)]


def test_pictures_are_turned_as_their_camera_says_and_white_where_transparent():
    pixels = np.zeros((20, 30, 4), np.uint8)
    pixels[:10] = 0, 0, 0, 255
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    picture = read_sent(file_of(pixels, exif=exif))
    assert picture.shape == (30, 20, 3)
    assert picture[:, :10].min() == 255 and picture[:, 10:].max() == 0


# The command


@pytest.mark.parametrize(
    "flags, words",
    [
        ({"serving": "127.0.0.1:1"}, "UNAVAILABLE"),
        ({"saved_model": "nowhere"}, "Expected a SavedModel"),
        ({"serving": "a:1", "saved_model": "b"}, "Expected either"),
        ({"host": "192.0.2.1"}, "--host 192.0.2.1"),
        ({"host": "a" * 70}, "Expected an address of this machine"),
        ({"port": 70_000}, "--port 70000"),
    ],
)
def test_what_cannot_be_shown_is_said(capsys, flags, words):
    config = DemoConfig(**{"port": 0, **flags})
    assert cli.run(lambda: main(config)) == cli.EXIT_BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_port_in_use_is_said_before_the_model_is_read(capsys):
    with listening("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        config = DemoConfig(saved_model="nowhere", port=port)
        assert cli.run(lambda: main(config)) == cli.EXIT_BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--port {port}" in line and "in use" in line


@pytest.mark.slow
def test_it_starts_behind_proxies_and_ends_with_one_line():
    proxies = {"ALL_PROXY": "socks5://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    process, url = started("--saved-model", PRETRAINED, **proxies, HTTPS_PROXY="http://127.0.0.1:9")
    address = url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), SECONDS) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in connection.recv(100)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=SECONDS)[0] == "Stopped.\n"
    assert process.returncode == cli.EXIT_INTERRUPTED


# The page in a browser


@pytest.fixture(scope="module")
def address(app):
    """Where the page with the small model answers."""
    with listening("127.0.0.1", 0) as listener:
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def browser_page(browser, address):
    page = browser.new_page(viewport={"width": 1200, "height": 1300})
    page.set_default_timeout(1000 * SECONDS)
    page.hosts = set()
    page.on("request", lambda request: page.hosts.add(request.url.split("/")[:3][-1]))
    page.goto(f"http://{address}")
    page.wait_for_selector("#drawing canvas")
    yield page
    page.close()


def test_two_strokes_apart_are_two_objects_and_no_other_host_is_asked(browser_page, address):
    page = browser_page
    wait_for_count(page, 0)
    stroke(page, (0.25, 0.15), (0.25, 0.4))
    wait_for_count(page, 1)
    stroke(page, (0.7, 0.6), (0.7, 0.85))
    wait_for_count(page, 2)
    page.wait_for_selector("#counts [data-testid=label-output-value] >> text=2 objects")
    for picture in ("#boxes img", "#steps img", "#glimpses img"):
        page.wait_for_selector(picture)
    page.click("#drawing button")
    wait_for_count(page, 0)
    hosts = {host for host in page.hosts if host and not host.startswith(("data:", "blob:"))}
    assert hosts == {address}


def test_a_dropped_picture_is_looked_at_and_a_bad_one_is_said(browser_page, tmp_path):
    page = browser_page
    wait_for_count(page, 0)
    (tmp_path / "strokes.png").write_bytes(file_of(strokes(light=True)))
    page.set_input_files("#file input", str(tmp_path / "strokes.png"))
    wait_for_count(page, 2)
    (tmp_path / "text.png").write_text("not a picture")
    page.set_input_files("#file input", str(tmp_path / "text.png"))
    page.wait_for_selector("text=Expected a PNG or JPEG picture")
    assert page.locator("#boxes img, #steps img, #glimpses img").count() == 3  # those before stay
    with open(tmp_path / "large.png", "wb") as file:
        file.truncate(guard.LARGEST_FILE + 1)
    page.set_input_files("#file input", str(tmp_path / "large.png"))
    page.wait_for_selector("text=at most 20 MB")
    page.click("#test-image")  # it goes on
    page.wait_for_function("document.querySelector('#said').innerText.includes('found')")
