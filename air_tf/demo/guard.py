"""What the page's server answers: only what the page itself asks for, from its own address."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Annotated
from urllib.parse import urlsplit

import pydantic
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from air_tf.validation import parse_json

LARGEST_FILE = 20_000_000  # bytes of a picture
LARGEST_BODY = LARGEST_FILE * 4 // 3 + 10_000  # bytes: a picture is sent in base64
MOST_PARTS = 100  # of a body's JSON, which takes far more memory when it is parsed into many
MOST_BODIES = 4  # that are in memory at a time
SECONDS_TO_RECEIVE = 30.0  # a body
LOCAL_HOSTS = "localhost", "127.0.0.1", "::1"
CALL = "/gradio_api/run/predict"
ASKED_FOR = re.compile(
    rf"(GET|HEAD) /((assets|static|svelte)/.+|theme\.css|favicon\.ico|manifest\.json)?|POST {CALL}"
)


class Call(pydantic.BaseModel):
    """The body of a call, as much of it as is passed on: files and URLs that it names are not."""

    data: list[
        Annotated[str, pydantic.Field(pattern=r"^data:[\w/.+;=-]{0,100},[A-Za-z0-9+/=]*$")]
        | Annotated[float, pydantic.Field(allow_inf_nan=False)]
    ]
    fn_index: int


class Guard:
    """Refuses, in one line of text, requests that the page does not make, before they reach gradio.

    One call is handled at a time. MOST_BODIES of those that wait are in memory; the others are not read.

    Args:
        app: the ASGI app behind it.
        hosts: names by which requests may call this server, beside LOCAL_HOSTS and the address that they
            came to. A foreign site that lets its name point here is refused by it.
        inputs: the types of the inputs of each function that can be called, by its index: str for a data
            URL, float for a number.
    """

    def __init__(self, app, hosts: Iterable[str], inputs: Mapping[int, list[type]]):
        self.app, self.inputs = app, inputs
        self.hosts = {*LOCAL_HOSTS, *(host.lower().strip("[]") for host in hosts)}
        self.bodies, self.turn = asyncio.Semaphore(MOST_BODIES), asyncio.Semaphore(1)

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            try:
                self._check(scope)
                if scope["method"] == "POST":
                    await self._call(scope, receive, send)
                else:
                    await self.app(scope, receive, send)
            except HTTPException as refusal:
                answer = PlainTextResponse(refusal.detail, refusal.status_code, {"Connection": "close"})
                await answer(scope, receive, send)

    def _check(self, scope) -> None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if _name(host) not in self.hosts | {scope["server"][0]}:
            names = ", ".join(sorted(self.hosts))
            raise _refusal(403, f"the host {names}, or one that --allowed-host adds", repr(host))
        if origin is not None and origin.partition("://")[2] != host:
            raise _refusal(403, "a request from the page itself", f"the origin {origin!r}")
        if not ASKED_FOR.fullmatch(f"{scope['method']} {scope['path']}"):
            raise _refusal(404, "a path of the page", "another")

    async def _call(self, scope, receive, send) -> None:
        headers = Headers(scope=scope)
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise _refusal(415, "application/json", "another type")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > LARGEST_BODY:
            raise _too_large()
        async with self.bodies:
            try:
                async with asyncio.timeout(SECONDS_TO_RECEIVE):
                    body = await _received(receive)
            except TimeoutError:
                raise _refusal(408, f"a body within {SECONDS_TO_RECEIVE:g} s", "a part of it") from None
            async with self.turn:
                body = self._parsed(body).model_dump_json().encode()

                async def replay():
                    nonlocal body
                    if body is None:
                        return await receive()
                    message, body = {"type": "http.request", "body": body}, None
                    return message

                await self.app(scope, replay, send)

    def _parsed(self, body: bytes) -> Call:
        expected = "data, a list of data URLs and numbers, and fn_index"
        if sum(map(body.count, b",[{")) > MOST_PARTS:
            raise _refusal(400, expected, f"JSON of over {MOST_PARTS} parts")
        try:
            call = parse_json(body, Call, expected, "the body")
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        if self.inputs.get(call.fn_index) != [type(value) for value in call.data]:
            received = f"fn_index={call.fn_index} with {len(call.data)}"
            raise _refusal(
                400, "a function of the page, and the data URLs or numbers that it takes", received
            )
        return call


def _name(host: str) -> str | None:
    """The name or address in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


async def _received(receive) -> bytes:
    """The body of a request.

    Raises:
        HTTPException: it is larger than LARGEST_BODY, or the client has gone.
    """
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _refusal(400, "a whole body", "a part of it")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > LARGEST_BODY:
            raise _too_large()
    return bytes(body)


def _too_large() -> HTTPException:
    return _refusal(413, f"a picture of at most {LARGEST_FILE:,} bytes", "a larger one")


def _refusal(status: int, expected: str, received: str) -> HTTPException:
    return HTTPException(status, f"Expected {expected}. Received: {received}.")
