"""Writes a run's model as a SavedModel."""

import dataclasses
import functools

from air_tf import cli
from air_tf.serving.export import docker_command, export
from air_tf.serving.served import EXPORTS
from air_tf.training.run_record import load_model


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Write a run's model as the next version of a SavedModel, for TF Serving and other TF code."""

    run: str
    """The run's folder, runs/NAME."""

    out: str = str(EXPORTS)
    """Folder of all versions."""

    preset: str = ""
    """Folder to write the model to as a preset as well: its config and weights, to train on from
    (default: none)."""


parse = functools.partial(cli.parse, ExportConfig)


def main(config: ExportConfig) -> None:
    model = load_model(config.run)
    if config.preset:
        model.save_to_preset(config.preset)
        print(f"The preset: {config.preset}")
    version = export(model, config.out)
    print(f"To serve it:\n{docker_command(version.parent)}")
    print(version)
