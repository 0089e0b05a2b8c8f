"""Measures a run or a SavedModel on a data set."""

import dataclasses
from pathlib import Path

from air_tf import cli
from air_tf.data.base import DatasetBase
from air_tf.evaluation.job import EvaluateConfig, check, write_evaluation
from air_tf.folders import RESULT, writing
from air_tf.paths import expand, shown
from air_tf.serving.served import ServedModel
from air_tf.training.run_record import load_model, read_config


def parse(arguments: list[str] | None = None) -> EvaluateConfig:
    """The flags given; those of the data set are otherwise as in the run."""
    run, dataset = cli.peek(arguments, "--run", "--dataset")
    default = EvaluateConfig()
    if run:
        data = read_config(expand(run)).data
        if dataset in ("", data.dataset):
            data = dataclasses.replace(data, cache_dir=DatasetBase.cache_dir)
            default = dataclasses.replace(default, data=data)
    return cli.parse(EvaluateConfig, arguments, default)


def main(config: EvaluateConfig) -> None:
    check(config)
    if config.saved_model:
        run, model, out = None, ServedModel(config.saved_model), Path("evaluation")
    else:
        run = expand(config.run)
        model, out = load_model(run, config.rho), run / "evaluation" / config.split
    out = expand(config.out) if config.out else out
    with writing(out, "air evaluate") as unfinished:
        dataset = config.data.load()
        print(dataset.description, flush=True)
        record = write_evaluation(config, model, dataset, run, unfinished / RESULT)
    print(cli.table(record))
    print(f"In {shown(out)}: evaluation.json, report.html, figures.")
