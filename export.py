"""Export a run as a SavedModel: python export.py --run runs/NAME --out exports/air"""

import dataclasses
import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

from air_tf import cli
from air_tf.serving.export import docker_command, export
from air_tf.serving.served import EXPORTS
from air_tf.training.run_folder import load_model


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Write a run's model as the next version of a SavedModel, for TF Serving and other TF code."""

    run: str
    """The run's folder, runs/NAME."""

    out: str = str(EXPORTS)
    """Folder of all versions."""


def main() -> None:
    config = cli.parse(ExportConfig)
    version = export(load_model(config.run), config.out)
    print(f"To serve it:\n{docker_command(version.parent)}")
    print(version)


if __name__ == "__main__":
    sys.exit(cli.run(main))
