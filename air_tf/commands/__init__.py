"""The commands: `air train` and the others, which train.py and the other scripts run too.

Each is a module with a `parse`, from the command line to settings, and a `main`, which takes them and
returns the exit status, or None after success. It is imported when the command is run, because
TensorFlow takes seconds to import.
"""

import importlib
import os
import signal
import sys

import air_tf
from air_tf.paths import shown

EXIT_BAD_INPUT = 2
COMMANDS = {  # by name: what each does
    "train": "train a model on images, without a label",
    "evaluate": "measure a trained model on held-out images",
    "export": "write a trained model as a SavedModel for TF Serving",
    "predict": "count and box the objects in picture files",
    "demo": "draw with the mouse and see what a model sees",
}
HELP = "\n".join(
    [
        "usage: air COMMAND [FLAGS]",
        "",
        "Attend, Infer, Repeat: counts, boxes and encodes objects in images, learned without labels.",
        "",
        *(f"  {name:<10}{does}" for name, does in COMMANDS.items()),
        "",
        "air COMMAND --help lists the command's flags, air --version the version.",
    ]
)


def main() -> int:
    """What `air` does with the command line; returns the exit status."""
    match sys.argv[1:]:
        case ["-h" | "--help"]:
            print(HELP)
        case ["--version"]:
            print(f"air_tf {air_tf.__version__}")
        case [name, *flags] if name in COMMANDS:
            sys.argv = [f"air {name}", *flags]  # the first is the program's name in help texts
            return run(name)
        case given:
            received = shown(given[0]) if given else "none"
            expected = f"Expected a command: {', '.join(COMMANDS)}"
            print(f"error: {expected}. Received: {received}; see air --help.", file=sys.stderr)
            return EXIT_BAD_INPUT
    return 0


def run(name: str) -> int:
    """Runs a command with the flags in `sys.argv`; returns the exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback
    command = importlib.import_module(f"air_tf.commands.{name}")
    from air_tf import cli  # it imports TensorFlow

    return cli.run(lambda: command.main(command.parse()))
