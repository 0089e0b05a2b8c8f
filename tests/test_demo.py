"""The page: what it sees, what its server answers and refuses, and the page in a real browser."""

import asyncio
import base64
import concurrent.futures
import dataclasses
import io
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
import uvicorn
from PIL import Image
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import air_tf
from air_tf import cli
from air_tf.demo import guard, look
from air_tf.demo.guard import Guard
from air_tf.demo.look import Demo, read_sent
from air_tf.demo.page import guarded_app
from air_tf.pictures import as_png, turned_for
from air_tf.preparation import prepare_encoded
from air_tf.remote import RemoteModel
from air_tf.scene import Scene
from air_tf.serving import PRETRAINED
from demo import DemoConfig, listening, main
from tests.conftest import REPOSITORY
from tests.prediction_server import Server

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SECONDS = 60  # for what should take far less
ADDRESS = "http://127.0.0.1:7860"
CALL = guard.CALL


class Patches:
    """A model that counts connected patches of light, three at most, and whose boxes are theirs."""

    config = air_tf.ModelConfig()
    image_shape = config.image_shape

    @tf.function
    def _prepare(self, image_bytes):
        return prepare_encoded(image_bytes, self.config)[0]

    def prepare(self, image_bytes):
        return self._prepare(tf.constant(image_bytes))

    def infer(self, images) -> Scene:
        boxes = np.zeros((len(images), 3, 4), np.float32)
        found = []
        for image in images:
            labels, _ = scipy.ndimage.label(image[..., 0] > 0.5)
            found.append(scipy.ndimage.find_objects(labels))
        counts = np.array([min(len(patches), 3) for patches in found], np.int32)
        for of_image, patches in zip(boxes, found):
            for box, (rows, columns) in zip(of_image, patches):
                box[:] = rows.start / 50, columns.start / 50, rows.stop / 50, columns.stop / 50
        scores = (np.arange(3) < counts[:, None]).astype(np.float32)
        z_what, z_where = np.zeros((len(images), 3, 1), np.float32), np.ones_like(boxes[..., :3])
        return Scene(counts, np.eye(4)[counts], boxes, boxes, scores, images, z_what, z_where)

    def decode(self, counts, z_what, z_where):
        return np.zeros((len(counts), *self.image_shape), np.float32)


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


def strokes(count=2, light=False):
    """Dark strokes on white, or light ones on black: `(200, 200, 3)` uint8."""
    picture = np.full((200, 200, 3), 255, np.uint8)
    for i in range(count):
        picture[30 + 45 * i : 60 + 45 * i, 50 + 40 * i : 58 + 40 * i] = 0
    return 255 - picture if light else picture


def file_of(pixels, kind="png", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def data_url(file):
    return f"data:image/png;base64,{base64.b64encode(file).decode()}"


def seen(client, file):
    """What the page answers of a file: the HTML of its three pictures, and what is said."""
    response = client.post(CALL, json={"data": [data_url(file)], "fn_index": 0})
    assert response.status_code == 200
    *_, boxes, steps, glimpses, said = response.json()["data"]
    return [boxes, steps, glimpses], said


# What it sees


@pytest.mark.parametrize("ground", [False, True])
@pytest.mark.parametrize("dark", [False, True])
def test_models_of_either_polarity_see_light_strokes_on_black(small_config, dark, ground):
    config = dataclasses.replace(small_config, dark_objects=dark, subtract_ground=ground)
    model = air_tf.AIR(config)
    turned = turned_for(model)
    for light in (False, True):
        image = np.asarray(model.prepare([as_png(turned(strokes(light=light)))]))[0]
        assert image[0].max() < 0.05 and 0.005 < image.mean() < 0.2


@pytest.mark.parametrize("ground", [False, True])
def test_dark_objects_on_a_light_textured_ground_are_left_to_a_model_of_dark_objects(
    small_config, ground
):
    config = dataclasses.replace(small_config, dark_objects=True, subtract_ground=ground)
    turned, random = turned_for(air_tf.AIR(config)), np.random.default_rng(0)
    for _ in range(200):
        texture = np.kron(random.normal(225, 12, (10, 10, 1)), np.ones((4, 4, 3)))
        y, x = random.integers(5, 25, 2)
        texture[y : y + 10, x : x + 10] = 60
        picture = np.clip(texture, 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(turned(picture), picture)


def test_a_model_of_light_objects_sees_the_negative_of_a_light_ground(small_config):
    turned = turned_for(air_tf.AIR(small_config))
    paper = np.random.default_rng(0).integers(150, 190, (40, 40, 3)).astype(np.uint8)
    np.testing.assert_array_equal(turned(paper), 255 - paper)
    np.testing.assert_array_equal(turned(255 - paper), 255 - paper)


def test_own_pictures_of_light_objects_keep_their_grey_ground(small_config):
    turned = turned_for(air_tf.AIR(dataclasses.replace(small_config, subtract_ground=True)))
    table = np.full((40, 40, 3), 180, np.uint8)
    table[10:20, 10:20] = 240
    np.testing.assert_array_equal(turned(table), table)


def test_large_images_are_shown(small_config):
    model = air_tf.AIR(dataclasses.replace(small_config, image_shape=(200, 200, 1)))
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


def refusal(response, status):
    """The one line of a refusal, which shows nothing of the program."""
    assert response.status_code == status
    assert response.text.startswith("Expected ") and "Received: " in response.text
    for internal in ("\n", "Traceback", "object at", "/tmp", "__"):
        assert internal not in response.text
    return response.text


@pytest.mark.parametrize(
    "body",
    [
        b"", b"junk", b"[]", b"{}", b"\xff", b"[" * 90, b"[[" * 10**6, b'{"data":[],"fn_index":0}',
        b'{"data":[7],"fn_index":0}', b'{"data":["data:,"],"fn_index":2}',
        b'{"data":["x"],"fn_index":0}',
        b'{"data":["data:,A"],"fn_index":77}', b'{"data":["data:,A"],"fn_index":1e99}',
        b'{"data":[null],"fn_index":0}', b'{"data":["data:,A","data:,A"],"fn_index":0}',
        b'{"data":["data:,\xc3\xa9"],"fn_index":0}', b'{"data":["data:,A"]}',
    ],
)  # fmt: skip
def test_wrong_payloads_are_refused_in_one_line(client, body):
    refusal(client.post(CALL, content=body, headers={"content-type": "application/json"}), 400)


def test_only_json_is_taken(client):
    refusal(client.post(CALL, content=b'{"data":[],"fn_index":2}'), 415)


@pytest.mark.parametrize("path", ["http://192.0.2.1/picture.png", "/etc/hostname", "demo.py"])
@pytest.mark.parametrize("index", [0, 1])
def test_no_url_and_no_file_that_a_request_names_is_read(client, monkeypatch, path, index):
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **_: asked.append(arguments))
    named = {"path": path, "url": path, "meta": {"_type": "gradio.FileData"}}
    for data in ([named], [[named]], [path]):
        refusal(client.post(CALL, json={"data": data, "fn_index": index}), 400)
    assert not asked


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", f"/gradio_api/file={REPOSITORY / 'demo.py'}"), ("GET", f"/file={__file__}"),
        ("GET", "/gradio_api/proxy=http://192.0.2.1/"), ("GET", "/gradio_api/file=http://192.0.2.1/"),
        ("POST", "/gradio_api/upload"), ("POST", "/gradio_api/queue/join"), ("POST", "/"),
        ("POST", "/gradio_api/api/predict"), ("GET", "/gradio_api/info"), ("GET", "/config"),
        ("GET", "/gradio_api/queue/data"), ("GET", "/monitoring"), ("GET", "/docs"), ("PUT", "/"),
        ("GET", "/?deep_link=../x"), ("OPTIONS", CALL), ("GET", "/assets/../config"),
    ],
)  # fmt: skip
def test_what_the_page_does_not_ask_for_is_not_answered(client, method, path):
    if path == "/?deep_link=../x":
        assert "demo.py" not in client.get(path).text
    else:
        refusal(client.request(method, path, headers={"content-type": "application/json"}), 404)


@pytest.mark.parametrize("path", ["/assets/%2e%2e/%2e%2e/%2e%2e/routes.py", "/static/%2Fetc/hostname"])
def test_no_file_beside_the_pages_own_is_answered(client, path):
    assert client.get(path).status_code in (403, 404)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:1", "[::1]:7860", "LOCALHOST:80", "mine:1", "[2001:DB8::1]:1"]
)
def test_its_own_hosts_are_answered(app, host):
    client = TestClient(Guard(app.app, ["Mine", "[2001:db8::1]"], {}), base_url=ADDRESS)
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:7860", "", "[", "192.0.2.1"],
)
def test_foreign_hosts_are_refused(client, host):
    for method, path in (("GET", "/"), ("POST", CALL), ("GET", "/assets/x.js")):
        assert "--allowed-host" in refusal(client.request(method, path, headers={"host": host}), 403)


def test_the_address_that_a_request_came_to_is_answered(app):
    assert TestClient(app, base_url="http://192.0.2.7:7860").get("/").status_code == 200
    client = TestClient(app, base_url="http://192.0.2.7:7860")
    refusal(client.get("/", headers={"host": "192.0.2.8:7860"}), 403)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1",
        "http://localhost:7860",
        "http://127.0.0.1:3000",
    ],
)
def test_other_origins_are_refused(client, origin):
    refusal(client.get("/", headers={"origin": origin}), 403)
    body = {"data": [], "fn_index": 2}
    refusal(client.post(CALL, json=body, headers={"origin": origin}), 403)
    assert client.post(CALL, json=body, headers={"origin": ADDRESS}).status_code == 200


def test_web_sockets_are_refused(client):
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/"):
        pass


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


# Memory: one call at a time, a few bodies, each bounded


def in_a_loop(coroutine):
    """The coroutine's result; in a thread, since playwright keeps a loop running in this one."""
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, coroutine).result()


def call(app, receive, **headers):
    """Calls an ASGI app with a POST of JSON, and returns the status of its answer."""
    headers = {"host": "localhost", "content-type": "application/json", **headers}
    scope = {
        "type": "http", "method": "POST", "path": CALL, "server": ("127.0.0.1", 7860),
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip
    statuses = []

    async def send(message):
        statuses.extend([message["status"]] if "status" in message else [])

    async def run():
        await app(scope, receive, send)
        return statuses[0]

    return run()


def test_a_body_is_refused_as_soon_as_it_is_too_large(app):
    received = 0

    async def endless():
        nonlocal received
        received += 10**6
        return {"type": "http.request", "body": bytes(10**6), "more_body": True}

    assert in_a_loop(call(app, endless, content_length=str(10**8))) == 413
    assert received == 0  # its length alone was enough
    assert in_a_loop(call(app, endless)) == 413
    assert received <= guard.LARGEST_BODY + 10**6


def test_the_largest_file_fits(client):
    assert "is damaged" in seen(client, bytes(guard.LARGEST_FILE))[1]


def test_a_body_that_does_not_come_is_given_up(app, monkeypatch):
    monkeypatch.setattr(guard, "SECONDS_TO_RECEIVE", 0.01)
    assert in_a_loop(call(app, asyncio.Event().wait)) == 408


def test_a_client_that_leaves_is_forgotten(app):
    async def gone():
        return {"type": "http.disconnect"}

    assert in_a_loop(call(app, gone)) == 400


def test_one_call_is_handled_at_a_time_and_few_bodies_are_in_memory():
    handled, read, most = [], 0, 0

    async def app(scope, receive, send):
        nonlocal most
        body = json.loads((await receive())["body"])
        handled.append(body)
        for _ in range(20):  # the others have their turns meanwhile, if they can
            await asyncio.sleep(0)
            most = max(most, read - len(handled) + 1)
        assert handled[-1] is body
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b'{"data": [], "fn_index": 0}'}

    async def together():
        guarded = Guard(app, (), {0: 0})
        return await asyncio.gather(*(call(guarded, receive) for _ in range(20)))

    assert in_a_loop(together()) == [200] * 20
    assert len(handled) == 20 and most == guard.MOST_BODIES


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


def started(*flags, **environment):
    """demo.py on a free port, and its address once it answers."""
    inherited = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    command = [sys.executable, REPOSITORY / "demo.py", "--port", "0", *flags]
    process = subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=REPOSITORY, env=inherited | environment,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("Running on"):
            return process, line.split()[2].rstrip(";")
    raise AssertionError(f"{process.wait()}")


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_behind_proxies_and_ends_with_one_line(signal_number):
    proxies = {"ALL_PROXY": "socks5://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    process, url = started("--saved-model", PRETRAINED, **proxies, HTTPS_PROXY="http://127.0.0.1:9")
    address = url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), SECONDS) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in connection.recv(100)
        process.send_signal(signal_number)
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
    page.wait_for_function(f"document.querySelector('#said').innerText.startsWith('{count} found')")


def test_two_strokes_apart_are_two_objects_and_no_other_host_is_asked(browser_page, address):
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
