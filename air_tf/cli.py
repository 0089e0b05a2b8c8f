"""What the commands share: flags from a dataclass, and errors in one line."""

import argparse
import contextlib
import dataclasses
import io
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import tensorflow as tf
import tyro

from air_tf.config import Config
from air_tf.data.proposal import Given, look, propose
from air_tf.image_files import find_pictures
from air_tf.model.where import ScaleShiftSettings
from air_tf.parts import choice_of, choices, flat, owners, replaced
from air_tf.paths import shown
from air_tf.presets import MULTI_MNIST, PRESETS

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130
TRACEBACK = "--traceback"
LONGEST_ERROR = 2000  # characters
C = TypeVar("C")


def parse(config_class: type[C], arguments: list[str] | None = None, default: C | None = None) -> C:
    """Reads a config from the command line: a flag for each setting, by its own name.

    Flags that choose a part, `--likelihood` for example, decide whose settings there are flags for.

    Args:
        config_class: a dataclass, which may nest settings.
        arguments: those of the command line, or others.
        default: the values of flags that are not given.

    Raises:
        ValueError: the settings refuse a value, or a flag belongs to a part that is not chosen; tyro
            itself explains what is no flag or no number.
        SystemExit: after --help, or after such an explanation.
    """
    selectors = choices(config_class)
    options: dict[str, Any] = {"config": (tyro.conf.OmitArgPrefixes, tyro.conf.AvoidSubcommands)}
    options["description"] = (
        f"{config_class.__doc__}\n\n{TRACEBACK} shows where in the program an error arose."
    )
    if not selectors:
        default_value = {} if default is None else {"default": default}
        return _parsed(config_class, arguments, **default_value, **options)
    default = _with_parts(default or config_class(), arguments)
    _check_owners(default, arguments)
    present = flat(default)
    there = {name: kinds for name, kinds in selectors.items() if name in present}
    chosen = [(name, _choice(kinds), present[name]) for name, kinds in there.items()]
    flags = dataclasses.make_dataclass("Flags", [("config", config_class, default), *chosen])
    return _parsed(flags, arguments, default=flags(default), **options).config


def _with_parts(config: C, arguments: list[str] | None) -> C:
    """The config with the parts that flags choose.

    Raises:
        ValueError: there is no such part.
    """
    selectors = choices(type(config))
    given = zip(selectors, peek(arguments, *map(_flag, selectors)))
    return replaced(config, **{name: part for name, part in given if part})


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _choice(kinds: dict[str, type]):
    """The type of a flag that chooses one of several parts; each part's first sentence explains it."""
    lines = [f"{kind}: {(part.__doc__ or '').partition(chr(10))[0]}" for kind, part in kinds.items()]
    return Annotated[Literal[tuple(kinds)], tyro.conf.arg(help=" ".join(lines))]


def _check_owners(config, arguments: list[str] | None) -> None:
    """Raises ValueError if a flag belongs to a part that is not chosen."""
    present, owned = flat(config), owners(type(config))
    for argument in sys.argv[1:] if arguments is None else arguments:
        name = argument.partition("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_")
        if argument.startswith("--") and name in owned and name not in present:
            selector, kinds = choice_of(name, owned, present)
            flag = _flag(selector)
            wanted = " or ".join(f"{flag} {kind}" for kind in kinds)
            raise ValueError(
                f"Expected {argument.partition('=')[0]} only with {wanted}. "
                f"Received: {argument} with {flag} {present[selector]}."
            )


def _parsed(config_class, arguments, **options):
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
    """Reads the config of a run: the flags given, the others as in the preset they name.

    For one's own pictures, what flags and preset leave open is proposed after a look at some of them.
    """
    preset, dataset, images = peek(arguments, "--preset", "--dataset", "--images")
    default = PRESETS.get(preset or dataset, MULTI_MNIST)
    if dataset == "images" and images:
        _with_parts(default, arguments)  # may refuse a part, before anything is proposed
        default = _proposed(arguments, images, preset if preset in PRESETS else None)
    return parse(Config, arguments, default)


def _proposed(arguments: list[str] | None, images: str, preset: str | None) -> Config:
    """The config proposed for pictures; beside a preset, their own settings and their most objects."""
    crop, object_size, background = peek(arguments, "--crop", "--object-size", "--background")
    if preset and not background:
        background = PRESETS[preset].model.background.background
    given = Given(_number(int, crop), _number(float, object_size), background or None, preset)
    proposal = propose(look(find_pictures(images)), given)
    print("\n".join(proposal.lines), flush=True)
    changes, chosen = proposal.model, PRESETS[proposal.preset]
    if preset:
        changes = {name: value for name, value in changes.items() if name == "max_objects"}
    if any(peek(arguments, "--scale-prior")):
        proposal.data.pop("object_size", None)  # which sets the same prior
    elif "scale_prior" in flat(chosen):  # the preset's, of other objects
        changes = {**changes, "scale_prior": ScaleShiftSettings.scale_prior}
    return replaced(chosen, dataset="images", **proposal.data, **changes)


def _number(kind: Callable[[str], Any], text: str):
    """The number of a flag; None if there is none, or what tyro will refuse."""
    try:
        return kind(text)
    except ValueError:
        return None


def peek(arguments: list[str] | None, *flags: str) -> list[str]:
    """The values of flags on which the defaults of others depend; "" of those not given."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in flags:
        names = {flag, "--" + flag[2:].replace("-", "_")}  # tyro takes both
        parser.add_argument(*names, dest=flag, default="", nargs="?", const="")
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
