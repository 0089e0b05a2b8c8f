"""The default model, trained for a minute, counts and boxes digits that it has not seen."""

import json
import os
import subprocess

import numpy as np
import pytest

from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.training import run_record

pytestmark = pytest.mark.slow
IMAGES = {"train_images": 20_000, "test_images": 2000}


@pytest.fixture(scope="module")
def trained(start_script, tmp_path_factory):
    """The run's folder, and what it printed. It takes many steps, so XLA optimises them."""
    runs = tmp_path_factory.mktemp("runs")
    flags = ["--steps", 1500, "--warm-start-steps", 500, "--evaluate-every", 1500]
    flags += ["--train-images", IMAGES["train_images"], "--test-images", IMAGES["test_images"]]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    optimised = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    process = start_script(
        "train.py", "--runs-dir", runs, "--name", "trained", *flags, **pipes, env=optimised
    )
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    return runs / "trained", printed


def test_it_learns_to_count(trained):
    folder, printed = trained
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["count_accuracy"] > 0.97
    assert min(metrics["count_accuracy_by_count"].values()) > 0.95
    assert metrics["elbo"] > 600
    assert metrics["steps"] == 1500 and metrics["digits"] == "embedded"
    assert metrics["boxes_by_count"]["2"]["centre_error"] < 2.5  # pixels
    assert "scikit-learn" in printed and "count_accuracy" in printed


def test_its_saved_weights_count_as_well(trained, cache_dir):
    folder, _ = trained
    data = MultiMNISTSettings(digits="embedded", cache_dir=str(cache_dir), **IMAGES)
    split = data.load().splits["test"][:500]
    counts = run_record.load_model(folder).infer(split.float_images()).counts
    assert np.mean(counts == split.counts) > 0.97


def test_evaluated_it_counts_boxes_and_segments(trained, run_script, tmp_path):
    flags = ["--num-images", 300, "--out", tmp_path / "evaluation"]
    done = run_script("evaluate.py", "--run", trained[0], *flags)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert record["count_accuracy"] > 0.97
    assert record["ap50"] > 0.5 and record["ap"] > 0.05
    assert record["foreground_ari"] > 0.8
