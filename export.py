"""Export a run as a SavedModel: python export.py --run runs/NAME --out exports/air"""

import dataclasses
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from air_tf import cli
from air_tf.run import load_model
from air_tf.serving import EXPORTS, export


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Write a run's model as the next version of a SavedModel, for TF Serving and other TF code."""

    run: str
    """The run's folder, runs/NAME."""

    out: str = str(EXPORTS)
    """Folder of all versions."""


def main() -> None:
    config = cli.parse(ExportConfig)
    print(export(load_model(config.run), config.out))


if __name__ == "__main__":
    sys.exit(cli.run(main))
