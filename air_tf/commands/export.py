"""Writes a run's model as a SavedModel."""

import dataclasses
import functools

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


parse = functools.partial(cli.parse, ExportConfig)


def main(config: ExportConfig) -> None:
    version = export(load_model(config.run), config.out)
    print(f"To serve it:\n{docker_command(version.parent)}")
    print(version)
