"""Fixtures: a small model, a small data set, and scripts run as a user runs them."""

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import filelock
import keras
import numpy as np
import pytest

import air_tf
from air_tf import serving
from air_tf.config import MultiDigitRecipe
from air_tf.data.digits import embedded_digits
from air_tf.data.multi_mnist import multi_mnist
from air_tf.remote import RemoteModel
from tests.prediction_server import Server, SessionModel

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def small_config():
    return air_tf.ModelConfig(
        image_shape=(12, 10, 1), max_objects=2, glimpse_size=6, z_what_size=4,
        embedding_units=8, lstm_units=8, hidden_units=8,
    )  # fmt: skip


@pytest.fixture
def small_model(small_config):
    keras.utils.set_random_seed(0)
    return air_tf.AIR(small_config)


@pytest.fixture
def small_images():
    return np.random.default_rng(0).random((5, 12, 10, 1), np.float32)


@pytest.fixture(scope="session")
def served_model(small_config):
    """The model in `exports`: not to be changed."""
    keras.utils.set_random_seed(0)
    model = air_tf.AIR(small_config)
    model.cell.pres_head.outputs.bias.assign([1.0])
    return model


@pytest.fixture(scope="session")
def exports(served_model, tmp_path_factory):
    """A folder with one version, 1."""
    return serving.export(served_model, tmp_path_factory.mktemp("exports") / "air").parent


@pytest.fixture(scope="session")
def session_model(exports):
    return SessionModel(exports / "1")


@pytest.fixture(scope="session")
def server(exports):
    server = Server(exports)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def remote(server):
    return RemoteModel(f"127.0.0.1:{server.port}")


@pytest.fixture(scope="session")
def digit_splits():
    """A few multi-digit images of the embedded digits."""
    recipe = MultiDigitRecipe(train_images=400, test_images=100)
    return multi_mnist(embedded_digits(), recipe)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def run_script(cache_dir):
    """Runs a script as a user does, on the embedded digits, and returns the finished process."""

    def run(script, *flags, start=subprocess.run, **options):
        arguments = [sys.executable, str(REPOSITORY / script), *map(str, flags)]
        if script in ("train.py", "evaluate.py"):
            arguments += ["--digits", "embedded", "--cache-dir", str(cache_dir)]
        if start is subprocess.run:
            options |= {"capture_output": True, "text": True, "timeout": 300}
        return start(arguments, **options)

    return run


@pytest.fixture(scope="session")
def trained(run_script, tmp_path_factory, testrun_uid):
    """A short real run, and what it printed: one for all workers."""
    runs = tmp_path_factory.getbasetemp().parent / f"runs-{testrun_uid}"
    flags = ["--steps", 1500, "--warm-start-steps", 500, "--evaluate-every", 750]
    with filelock.FileLock(f"{runs}.lock"):
        if not runs.exists():
            done = run_script("train.py", "--runs-dir", runs, "--name", "short", *flags)
            assert done.returncode == 0, done.stderr
            (runs / "printed").write_text(done.stdout)
    return runs / "short", (runs / "printed").read_text()
