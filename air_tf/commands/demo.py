"""Serves the page on which one draws with the mouse and sees what a model sees."""

import dataclasses
import functools
import signal
import socket

import tyro

from air_tf import cli
from air_tf.demo.look import Demo
from air_tf.extras import extra
from air_tf.serving.remote import RemoteModel
from air_tf.serving.served import default_model, load

WILDCARDS = "0.0.0.0", "::"
MOST_CONNECTIONS = 200
SECONDS_TO_END = 2  # for requests that are being answered when the server is stopped


@dataclasses.dataclass(frozen=True)
class DemoConfig:
    """A page on which one draws with the mouse and sees what a model sees."""

    saved_model: str = ""
    """A SavedModel or a run (default: the newest export in exports/air, else the pretrained one)."""

    serving: str = ""
    """Instead: HOST:PORT of a running TF Serving's gRPC."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""

    port: int = 7860
    """Port of the page."""

    allowed_host: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A further name or address, without a port, by which browsers may call the page; can be given
    several times. Calls by any other name are refused, so that a foreign site cannot reach the page
    through a name that it lets point to this machine. Allowed are localhost, 127.0.0.1, [::1], --host,
    and the address that a request came to; with 0.0.0.0 also this machine's name. The name that a
    reverse proxy or a container's host is called by has to be added."""


parse = functools.partial(cli.parse, DemoConfig)


def listening(host: str, port: int) -> socket.socket:
    """A socket on which the page can be called.

    Raises:
        OSError: the port is in use, or the host is none of this machine's.
    """
    try:
        if not 0 <= port <= 65535:
            raise OSError("a port lies between 0 and 65535")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, *_, address = min(found)  # IPv4, where a name has both kinds of addresses
        return socket.create_server(address[:2], family=socket.AddressFamily(family))
    except (OSError, UnicodeError) as error:  # the latter of no possible name
        raise OSError(
            "Expected an address of this machine and a port that is free. "
            f"Received: --host {host} --port {port}: {error}"
        ) from error


def main(config: DemoConfig) -> None:
    with extra("demo"):
        import uvicorn

        from air_tf.demo.page import guarded_app
    if config.saved_model and config.serving:
        given = f"--saved-model {config.saved_model} --serving {config.serving}"
        raise ValueError(f"Expected either --saved-model or --serving. Received: {given}.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with listening(config.host, config.port) as listener:
        place = config.serving or config.saved_model or default_model()
        print(f"The model: {place}.", flush=True)
        demo = Demo(RemoteModel(config.serving) if config.serving else load(place))
        names = [socket.gethostname()] if config.host in WILDCARDS else [config.host]
        server = uvicorn.Server(
            uvicorn.Config(
                guarded_app(demo, [*names, *config.allowed_host]), log_level="error", ws="none",
                limit_concurrency=MOST_CONNECTIONS, timeout_graceful_shutdown=SECONDS_TO_END,
            )
        )  # fmt: skip
        shown = f"[{config.host}]" if ":" in config.host else config.host
        port = listener.getsockname()[1]
        print(f"Running on http://{shown}:{port}; Ctrl-C stops it.", flush=True)
        server.run(sockets=[listener])
