"""What the scripts share: flags from a dataclass, and bad input in one line."""

import argparse
import sys
from collections.abc import Callable

import tyro

from air_tf.config import MULTI_MNIST, PRESETS, Config

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130


def parse(config_class, arguments: list[str] | None = None, **options):
    """Reads a config from the command line: a flag for each field, nested ones too."""
    return tyro.cli(config_class, args=arguments, config=(tyro.conf.OmitArgPrefixes,), **options)


def parse_run(arguments: list[str] | None = None) -> Config:
    """Reads the config of a run: the flags given, the others as in the preset they name."""
    preset, dataset = peek(arguments, "--preset", "--dataset")
    return parse(Config, arguments, default=PRESETS.get(preset or dataset, MULTI_MNIST))


def peek(arguments: list[str] | None, *flags: str) -> list[str]:
    """The values of flags on which the defaults of others depend; "" of those not given."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in flags:
        parser.add_argument(flag, default="")
    return list(vars(parser.parse_known_args(arguments)[0]).values())


def run(main: Callable[[], int | None]) -> int:
    """Calls `main`; says bad input in one line on the terminal.

    Returns:
        The exit status: what `main` returns, or EXIT_BAD_INPUT.
    """
    try:
        return main() or 0
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (ValueError, OSError, ArithmeticError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_BAD_INPUT


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
