"""Flags, and errors in one line."""

import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf
from conftest import REPOSITORY

from air_tf import cli
from air_tf.config import Config
from air_tf.parts import choices


def printed_error(capsys, main):
    """The only line that a command prints which raises an error."""
    assert cli.run(main) == cli.EXIT_BAD_INPUT
    [line] = capsys.readouterr().err.splitlines()
    return line


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("Expected a.\n  Received:\tb."), "error: Expected a. Received: b."),
        (OSError(28, "No space left on device", "x"), "error: [Errno 28] No space left on device: 'x'"),
        (ValueError("a\udcffb\x1b[31m"), r"error: a\udcffb\x1b[31m"),
        (KeyError("x"), "error: KeyError: 'x' (--traceback shows where it arose)"),
        (MemoryError(), "error: MemoryError: (--traceback shows where it arose)"),
        (RecursionError("deep"), "error: RecursionError: deep (--traceback shows where it arose)"),
        (
            tf.errors.InternalError(None, None, "first\nsecond"),
            "error: InternalError: first (--traceback shows where it arose)",
        ),
        (ValueError("x" * 9000), f"error: {'x' * 2000}..."),
    ],
)
def test_every_error_is_one_printable_line(capsys, error, line):
    assert printed_error(capsys, raising(error)) == line


def test_traceback_shows_where_an_error_arose(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--traceback", "--steps", "3"])
    assert cli.run(raising(KeyError("x"))) == cli.EXIT_BAD_INPUT
    error = capsys.readouterr().err
    assert "Traceback" in error and error.endswith(
        "error: KeyError: 'x' (--traceback shows where it arose)\n"
    )
    assert sys.argv == ["train.py", "--steps", "3"]


def test_ctrl_c_is_one_word(capsys):
    assert cli.run(raising(KeyboardInterrupt())) == cli.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "Stopped.\n"


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--max-objects", "0"], "Expected max_objects at least 1. Received: max_objects=0."),
        (
            ["--learning-rate", "-1"],
            "Expected learning_rate at least 1e-12. ",
        ),
        (
            ["--learning-rate", "1e38"],
            "Expected learning_rate at most 10.0. ",
        ),
        (["--glimpse-size", "1"], "Expected glimpse_size at least 2."),
        (["--batch-size", "1000000000"], "Expected batch_size at most 65536."),
        (["--min-scale", "1e30"], "Expected min_scale at most 1000.0."),
        (["--rho", "1e-320"], "Expected rho at least 1e-30."),
        (["--name", "../../x"], "Expected name of a folder, no slash in it"),
        (["--digits", "embedded", "--mnist", "x"], "Expected mnist with digits of MNIST alone."),
        (["--dataset", "cifar"], "Expected dataset to be one of multi_mnist, omniglot, images, "),
        (
            ["--presence", "nvil", "--count-bound=marginal"],
            "Expected --count-bound only with --presence enumerate. "
            "Received: --count-bound=marginal with --presence nvil.",
        ),
        (
            ["--no-signal-centring"],
            "Expected --no-signal-centring only with --presence nvil. "
            "Received: --no-signal-centring with --presence enumerate.",
        ),
        (
            ["--image-size", "20", "20"],
            "Expected --image-size only with --dataset omniglot or --dataset images.",
        ),
        (["--scale-prior", "nan", "1"], "Expected scale_prior to fit: input should be a finite number."),
    ],
)
def test_refused_settings_are_one_line(capsys, flags, message):
    line = printed_error(capsys, lambda: cli.parse_run(flags))
    assert line.startswith(f"error: {message}")


@pytest.mark.parametrize(
    "flags, message",
    [(["--learning-rat", "1"], "--learning-rate FLOAT"),
     (["--max-objects", "many"], "--max-objects INT"), (["--preset"], "--preset")],
)  # fmt: skip
def test_what_is_no_flag_is_explained(capsys, flags, message):
    with pytest.raises(SystemExit, match="2"):
        cli.parse_run(flags)
    assert message in capsys.readouterr().err


def test_help_names_the_traceback_flag(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.parse(Config, ["--help"])
    assert "--traceback" in capsys.readouterr().out


def test_what_explains_a_choice_is_a_whole_sentence():
    for name, kinds in choices(Config).items():
        for kind, part in kinds.items():
            assert part.__doc__.partition("\n")[0].endswith("."), (name, kind)


@pytest.mark.slow
def test_ctrl_c_while_tensorflow_is_imported_leaves_no_traceback():
    for seconds in (0.5, 1.5, 3.0):
        command = [sys.executable, "train.py", "--help"]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=-1, stderr=-1, text=True) as process:
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate()
        assert process.returncode in (-signal.SIGINT, cli.EXIT_INTERRUPTED, 0)
        assert "Traceback" not in error
