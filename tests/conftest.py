"""Fixtures: a small model, a small data set, a short run, and scripts as a user calls them.

TensorFlow takes six seconds to import, and the process that only hands the tests to pytest-xdist's
workers reads this file too: fixtures import it.
"""

import contextlib
import io
import logging
import os
import runpy
import site
import subprocess
import sys
import tempfile
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[1]
SHORT_RUN = [  # flags of a training that takes seconds
    "--max-objects", 2, "--glimpse-size", 12, "--z-what-size", 4, "--embedding-units", 8,
    "--lstm-units", 8, "--hidden-units", 8, "--steps", 4, "--warm-start-steps", 2,
    "--steps-per-call", 1, "--evaluate-every", 2, "--batch-size", 8,
    "--train-images", 100, "--test-images", 60,
]  # fmt: skip


def named(config):
    """All settings of a config, by their names."""
    from air_tf.parts import flat

    return types.SimpleNamespace(**flat(config))


class AsWarning(logging.Handler):
    """What TensorFlow and Keras log as a warning becomes one, which fails the test."""

    def emit(self, record):
        if record.name in ("absl", "tensorflow"):
            warnings.warn(f"{record.name}: {record.getMessage()}", stacklevel=2)


def pytest_configure(config):
    """Keeps the user's caches out of the tests, and theirs out of the user's home.

    Most tests run a few steps of what they compile, so XLA does not optimise them.
    """
    logging.getLogger().addHandler(AsWarning(logging.WARNING))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    if not hasattr(config, "workerinput"):  # workers and subprocesses inherit it
        home = tempfile.TemporaryDirectory()
        config.add_cleanup(home.cleanup)
        os.environ["PYTHONUSERBASE"] = site.getuserbase()  # packages may lie in the user's home
        os.environ["HOME"] = home.name


def pytest_runtest_setup(item):
    if item.get_closest_marker("mnist") and not os.environ.get("AIR_MNIST"):
        pytest.skip("AIR_MNIST is not set")


@pytest.fixture(autouse=True)
def same_numbers(request):
    """Weights and a module's own `random` are the same in whatever order the tests run."""
    import keras

    keras.utils.set_random_seed(0)
    if random := getattr(getattr(request.node, "module", None), "random", None):
        random.bit_generator.state = np.random.default_rng(0).bit_generator.state


@pytest.fixture(scope="session")
def small_config():
    import air_tf

    return air_tf.replaced(
        air_tf.ModelConfig(), image_shape=(12, 10, 1), max_objects=2, glimpse_size=6, z_what_size=4,
        embedding_units=8, lstm_units=8, hidden_units=8,
    )  # fmt: skip


@pytest.fixture
def small_model(small_config):
    import air_tf

    return air_tf.AIR(small_config)


@pytest.fixture
def small_images():
    return np.random.default_rng(0).random((5, 12, 10, 1), np.float32)


@contextlib.contextmanager
def run_eagerly():
    """Compiled functions run operation by operation: quicker where they are called a few times."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.fixture
def eagerly():
    with run_eagerly():
        yield


@pytest.fixture(scope="session")
def served_model(small_config):
    """The model in `exports`: not to be changed."""
    import keras

    import air_tf

    keras.utils.set_random_seed(0)
    model = air_tf.AIR(small_config)
    model.inference.pres_head.outputs.bias.assign([1.0])
    return model


@pytest.fixture(scope="session")
def exports(served_model, tmp_path_factory):
    """A folder with one version, 1."""
    from air_tf.serving.export import export

    return export(served_model, tmp_path_factory.mktemp("exports") / "air").parent


@pytest.fixture(scope="session")
def session_model(exports):
    from tests.prediction_server import SessionModel

    return SessionModel(exports / "1")


@pytest.fixture(scope="session")
def server(exports):
    from tests.prediction_server import Server

    server = Server(exports)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def remote(server):
    from air_tf.serving.remote import RemoteModel

    return RemoteModel(f"127.0.0.1:{server.port}")


@pytest.fixture(scope="session")
def digit_splits():
    """A few multi-digit images of the embedded digits."""
    from air_tf.data.digits import embedded_digits
    from air_tf.data.multi_mnist import MultiDigitRecipe, multi_mnist

    recipe = MultiDigitRecipe(train_images=400, test_images=100)
    return multi_mnist(embedded_digits(), recipe)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def script_flags(cache_dir):
    """A script's flags as strings; what reads data reads the embedded digits."""

    def flags_of(script, *flags):
        flags = [*map(str, flags)]
        if script in ("train.py", "evaluate.py") and "--digits" not in flags:
            flags += ["--digits", "embedded"]
        if script in ("train.py", "evaluate.py"):
            flags += ["--cache-dir", str(cache_dir)]
        return flags

    return flags_of


@pytest.fixture(scope="session")
def run_script(script_flags):
    """Runs a script as a user does, but within this process, which has TensorFlow imported."""

    def run(script, *flags) -> subprocess.CompletedProcess:
        arguments = [str(REPOSITORY / script), *script_flags(script, *flags)]
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            patch.setattr(sys, "argv", arguments)
            runpy.run_path(arguments[0], run_name="__main__")
        return subprocess.CompletedProcess(
            arguments, ended.value.code or 0, out.getvalue(), err.getvalue()
        )

    return run


@pytest.fixture(scope="session")
def start_script(script_flags):
    """Starts a script in a process of its own, for slow tests."""

    def start(script, *flags, **options) -> subprocess.Popen:
        command = [sys.executable, str(REPOSITORY / script), *script_flags(script, *flags)]
        return subprocess.Popen(command, **options)

    return start


@pytest.fixture(scope="session")
def short_run(run_script, tmp_path_factory):
    """The folder of a run of a few steps of a small model, and what it printed: not to be changed."""
    runs = tmp_path_factory.mktemp("runs")
    with run_eagerly():
        done = run_script("train.py", "--runs-dir", runs, "--name", "short", *SHORT_RUN)
    assert done.returncode == 0, done.stderr
    return runs / "short", done.stdout
