"""The wheel: installed in a virtual environment of its own, and used from an empty folder.

pip builds it, and fetches setuptools from the package index for that.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, SHORT_RUN
from PIL import Image

import air_tf

NOT_COPIED = shutil.ignore_patterns(".*", "runs", "exports", "results", "build", "*.egg-info")
NOT_LINKED = "air_tf", "__editable__", "gradio", "fastapi", "uvicorn", "tensorflow_serving"

pytestmark = pytest.mark.slow


def pip(*arguments):
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A virtual environment with the wheel, and with links to what it needs, but not to its extras."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(REPOSITORY, folder / "source", symlinks=True, ignore=NOT_COPIED)
    pip("wheel", "--no-deps", "--wheel-dir", folder, folder / "source")
    shutil.rmtree(folder / "source")
    venv.create(folder / "environment")
    [wheel] = folder.glob("*.whl")
    pip("--python", folder / "environment", "install", "--no-deps", "--no-index", wheel)
    [installed] = (folder / "environment").glob("lib/python*/site-packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(NOT_LINKED) and not (installed / path.name).exists():
            (installed / path.name).symlink_to(path)
    return folder / "environment"


@pytest.fixture
def run(environment, tmp_path, monkeypatch):
    """Runs a program of the environment in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(program, *flags):
        command = [str(environment / "bin" / program), *map(str, flags)]
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(command, capture_output=True, text=True, env=kept)

    return run


def draw_stroke(name):
    pixels = np.zeros((100, 100), np.uint8)
    pixels[20:60, 48:54] = 255
    Image.fromarray(pixels).save(name)


def counts_in(folder):
    with open(f"{folder}/predictions.csv", newline="") as file:
        return [row["count"] for row in csv.DictReader(file)]


def test_the_command_is_on_the_path(run):
    assert run("air", "--help").stdout.startswith("usage: air COMMAND")
    assert run("air", "--version").stdout == f"air_tf {air_tf.__version__}\n"
    done = run("air", "trian")
    assert done.returncode == 2 and "Received: trian" in done.stderr


def test_a_picture_is_predicted_by_the_model_in_the_wheel(run, environment):
    draw_stroke("stroke.png")
    done = run("air", "predict", "stroke.png")
    assert done.returncode == 0, done.stderr
    assert f"The model: {environment}/" in done.stdout
    assert counts_in("predictions") == ["1"]


def test_the_library_loads_the_model_in_the_wheel(run, environment):
    program = (
        "import air_tf, json, numpy as np; from air_tf.serving.served import default_model;"
        "images = np.zeros((2, 50, 50, 1), np.float32); images[1, 10:30, 24:27] = 1;"
        "scene = air_tf.load(default_model()).infer(images);"
        "print(json.dumps([air_tf.__file__, scene.counts.numpy().tolist()]))"
    )
    done = run("python", "-c", program)
    assert done.returncode == 0, done.stderr
    place, counts = json.loads(done.stdout)
    assert Path(place).is_relative_to(environment) and counts == [0, 1]


def test_a_model_is_trained_exported_and_used_without_the_extras(run):
    """In one process, because TensorFlow takes long to import."""
    cache = ["--cache-dir", "cache"]
    commands = [
        ["train", "--digits", "embedded", *cache, "--name", "short", *map(str, SHORT_RUN)],
        ["evaluate", "--run", "runs/short", *cache, "--num-images", "20"],
        ["export", "--run", "runs/short"],
        ["predict", "stroke.png"],
    ]
    program = f"""
import sys
import tensorflow as tf
from air_tf.commands import main
for words in {commands}:
    tf.config.run_functions_eagerly(words[0] in ("train", "evaluate"))
    sys.argv = ["air", *words]
    assert not main()
"""
    draw_stroke("stroke.png")
    done = run("python", "-c", program)
    assert done.returncode == 0, done.stderr
    assert Path("runs/short/evaluation/test/report.html").is_file()
    assert "\nexports/air/1\n" in done.stdout
    assert "The model: exports/air." in done.stdout and len(counts_in("predictions")) == 1


def test_a_missing_extra_is_named(run):
    done = run("air", "demo", "--port", 0)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith(
        "error: Expected the package "
    )
    assert 'which pip install "air_tf[demo]" installs' in done.stderr
    done = run(
        "python", "-c", "from air_tf.serving.remote import RemoteModel; RemoteModel('127.0.0.1:1')"
    )
    assert 'which pip install "air_tf[serve]" installs' in done.stderr
