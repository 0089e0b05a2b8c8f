"""What the commands share: flags from a dataclass, and errors in one line."""

import argparse
import contextlib
import io
import signal
import sys
import threading
import traceback
from collections.abc import Callable

import tensorflow as tf
import tyro

from air_tf.config import MULTI_MNIST, PRESETS, Config
from air_tf.paths import shown

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130
TRACEBACK = "--traceback"
LONGEST_ERROR = 2000  # characters


def parse(config_class, arguments: list[str] | None = None, **options):
    """Reads a config from the command line: a flag for each field, nested ones too.

    Raises:
        ValueError: the settings refuse a value; tyro itself explains what is no flag or no number.
        SystemExit: after --help, or after such an explanation.
    """
    description = f"{config_class.__doc__}\n\n{TRACEBACK} shows where in the program an error arose."
    options = {"description": description, "config": (tyro.conf.OmitArgPrefixes,), **options}
    with contextlib.redirect_stderr(io.StringIO()) as explanation:
        try:
            return tyro.cli(config_class, args=arguments, **options)
        except SystemExit as stopped:
            if refusal := _refusal(stopped):
                raise refusal from None
            stop = stopped
    print(explanation.getvalue(), end="", file=sys.stderr)
    raise stop


def _refusal(stopped: SystemExit) -> ValueError | None:
    """The error of the settings themselves that tyro stopped for."""
    error: BaseException | None = stopped
    while error and not (isinstance(error, ValueError) and str(error).startswith("Expected")):
        error = error.__cause__ or error.__context__
    return error


def parse_run(arguments: list[str] | None = None) -> Config:
    """Reads the config of a run: the flags given, the others as in the preset they name."""
    preset, dataset = peek(arguments, "--preset", "--dataset")
    return parse(Config, arguments, default=PRESETS.get(preset or dataset, MULTI_MNIST))


def peek(arguments: list[str] | None, *flags: str) -> list[str]:
    """The values of flags on which the defaults of others depend; "" of those not given."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in flags:
        parser.add_argument(flag, default="", nargs="?", const="")
    return list(vars(parser.parse_known_args(arguments)[0]).values())


def run(main: Callable[[], int | None]) -> int:
    """Calls `main`; whatever it raises becomes one line on the terminal.

    With --traceback among the arguments the traceback is printed too.

    Returns:
        The exit status: what `main` returns, EXIT_BAD_INPUT after an error, or EXIT_INTERRUPTED.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # scripts begin without it
    wanted = TRACEBACK in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != TRACEBACK]
    for stream in sys.stdout, sys.stderr:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    try:
        return main() or 0
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        if wanted:
            traceback.print_exc()
        print(f"error: {one_line(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT


def one_line(error: Exception) -> str:
    """The error's message, printable; what the program did not foresee begins with its kind."""
    message = str(error)
    if isinstance(error, tf.errors.OpError):  # the rest tells where in a graph
        message = (error.message or "").partition("\n")[0]
    if not isinstance(error, (ValueError, OSError, ArithmeticError)):
        message = f"{type(error).__name__}: {message} ({TRACEBACK} shows where it arose)"
    printable = shown(" ".join(message.split()))
    if len(printable) > LONGEST_ERROR:
        printable = f"{printable[:LONGEST_ERROR]}..."
    return printable


def table(metrics: dict) -> str:
    """A dictionary of results, nested ones too, as aligned lines."""
    rows = list(_rows(metrics))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _rows(metrics: dict, prefix: str = ""):
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from _rows(value, f"{prefix}{name} ")
        else:
            yield prefix + name, f"{value:.4g}" if isinstance(value, float) else str(value)
