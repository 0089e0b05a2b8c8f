"""The documentation's commands have the flags that it gives them, and its client prints what it says."""

import dataclasses
import re

import pytest

from air_tf.commands.demo import DemoConfig
from air_tf.commands.export import ExportConfig
from air_tf.config import Config
from air_tf.evaluation.job import EvaluateConfig
from air_tf.parts import choices, flat, owners
from air_tf.prediction.job import PredictConfig
from air_tf.presets import PRESETS
from air_tf.serving.served import PRETRAINED
from tests.conftest import REPOSITORY

PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
OTHERS = {
    "help", "traceback", "version",  # every command
    "quick", "minutes", "omniglot", "out", "images",  # experiments
    "require-hashes", "no-deps", "logdir", "check",  # pip, tensorboard, ruff
    "pixel-width",  # examples/laplace.py
    "rm", "model_config_file", "monitoring_config_file",  # docker, TF Serving
    "enable_batching", "batching_parameters_file",
}  # fmt: skip


def known_flags() -> set[str]:
    commands = DemoConfig, ExportConfig, EvaluateConfig, PredictConfig
    names = {field.name for command in commands for field in dataclasses.fields(command)}
    names |= {*owners(Config), *choices(Config)}
    names |= {name for preset in PRESETS.values() for name in flat(preset)}
    flags = {name.replace("_", "-") for name in names}
    return flags | {f"no-{flag}" for flag in flags} | OTHERS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_flags_exist(page):
    assert {*re.findall(r"(?<![\w-])--([a-z][\w-]*)", page.read_text())} <= known_flags()


def test_the_table_of_choices_is_whole():
    page = (REPOSITORY / "docs" / "train.md").read_text()
    rows = re.findall(r"^\| `--(\w+)` \| [^|]+ \| (.+) \|$", page, re.MULTILINE)
    found = {selector: {*re.findall(r"`(\w+)`", kinds)} for selector, kinds in rows}
    assert found == {selector: {*kinds} for selector, kinds in choices(Config).items()}


def test_the_grpc_client_prints_what_the_page_says(capsys):
    pytest.importorskip("tensorflow_serving")
    from tests.prediction_server import Server

    text = (REPOSITORY / "docs" / "serve.md").read_text()
    [(code, printed)] = re.findall(r"```python\n(import grpc\n.*?)```.*?```\n(.*?)```", text, re.DOTALL)
    server = Server(PRETRAINED)
    try:
        exec(code.replace("localhost:8500", f"127.0.0.1:{server.port}"), {})
    finally:
        server.stop()
    assert capsys.readouterr().out == printed
