"""What the server of the page answers and refuses, and how much it reads at a time."""

import asyncio
import concurrent.futures
import json
import socket

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from air_tf.demo import guard
from air_tf.demo.guard import Guard
from air_tf.demo.look import Demo
from air_tf.demo.page import guarded_app
from tests.conftest import REPOSITORY
from tests.page import ADDRESS, CALL, Patches, seen


@pytest.fixture(scope="module")
def app():
    return guarded_app(Demo(Patches()))


@pytest.fixture
def client(app):
    return TestClient(app, base_url=ADDRESS)


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
        guarded = Guard(app, (), {0: []})
        return await asyncio.gather(*(call(guarded, receive) for _ in range(20)))

    assert in_a_loop(together()) == [200] * 20
    assert len(handled) == 20 and most == guard.MOST_BODIES
