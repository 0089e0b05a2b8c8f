"""The scripts, run as a user runs them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

import air_tf
from air_tf import run as run_folder
from air_tf.config import Config, DataConfig, ModelConfig, RunConfig, TrainingConfig
from air_tf.data import load_splits
from air_tf.training import train

SHORT = ["--steps", 300, "--steps-per-call", 10, "--checkpoint-every", 20, "--batch-size", 16]


def test_it_learns_to_count(trained):
    folder, printed = trained
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["count_accuracy"] > 0.97
    assert min(metrics["count_accuracy_by_count"].values()) > 0.95
    assert metrics["elbo"] > 600
    assert metrics["steps"] == 1500 and metrics["digits"] == "embedded"
    assert metrics["boxes_by_count"]["2"]["centre_error"] < 2.5  # pixels
    assert "scikit-learn" in printed and "count_accuracy" in printed


def test_metrics_are_those_of_the_saved_weights(trained, cache_dir):
    folder, _ = trained
    split = load_splits(DataConfig(digits="embedded", cache_dir=str(cache_dir))).splits["test"][:500]
    counts = run_folder.load_model(folder).infer(split.float_images()).counts
    assert np.mean(counts == split.counts) > 0.97


def test_tensorboard_has_scalars_and_pictures(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained[0]), size_guidance={"tensors": 0}).Reload()
    tags = set(events.Tags()["tensors"])
    for name in ("elbo", "log_px", "kl_count", "kl_where", "kl_what"):
        assert {f"train/{name}", f"held_out/{name}"} <= tags
    assert {
        "train/gradient_norm",
        "train/learning_rate",
        "train/ms_per_step",
        "scenes",
        "config",
    } <= tags
    assert {f"held_out/count_accuracy_by_count/{n}" for n in range(3)} <= tags
    steps = [event.step for event in events.Tensors("held_out/count_accuracy")]
    assert steps == [750, 1500]
    rates = [float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors("train/learning_rate")]
    np.testing.assert_allclose(rates[14], 1e-3 * 0.5, rtol=1e-3)  # a cosine, half way


def test_samples_are_a_picture(trained):
    from PIL import Image

    with Image.open(trained[0] / "samples.png") as picture:
        assert picture.width > 800 and len(set(picture.convert("L").getdata())) > 50


def test_export_prints_the_version_it_wrote(trained, run_script, tmp_path):
    for version in (1, 2):
        done = run_script("export.py", "--run", trained[0], "--out", tmp_path / "air")
        assert done.stdout.splitlines()[-1] == str(tmp_path / "air" / str(version)), done.stderr
    images = np.zeros((2, 50, 50, 1), np.float32)
    served = tf.saved_model.load(str(tmp_path / "air" / "2")).signatures["serving_default"]
    np.testing.assert_array_equal(served(tf.constant(images))["counts"], [0, 0])


def test_resume_goes_on_to_more_steps_but_not_to_fewer(trained, run_script, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "copy")
    flags = ["--runs-dir", tmp_path, "--name", "copy", "--warm-start-steps", 500, "--resume"]
    done = run_script("train.py", *flags, "--steps", 1600)
    assert "Going on from step 1,500" in done.stdout, done.stderr
    metrics = (folder / "metrics.json").read_text()
    assert json.loads(metrics)["steps"] == 1600
    done = run_script("train.py", *flags, "--steps", 1000)
    assert done.returncode == 2
    assert "error: Expected at least the 1600 steps" in done.stderr
    assert (folder / "metrics.json").read_text() == metrics


def test_it_stops_at_an_accuracy_and_a_resumed_run_knows_it_has(trained, cache_dir, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "copy")
    evaluations = run_folder.read_history(folder)
    assert [record["step"] for record in evaluations] == [750, 1500]
    (folder / "history.jsonl").unlink()
    config = Config(
        data=DataConfig(digits="embedded", cache_dir=str(cache_dir)),
        model=ModelConfig(warm_start_steps=500),
        training=TrainingConfig(
            steps=9000, evaluate_every=20, stop_at_accuracy=0.9, evaluation_images=200
        ),
        run=RunConfig(runs_dir=str(tmp_path), name="copy", resume=True),
    )
    assert train(config)[1]["steps"] == 1520  # the first evaluation has it
    with open(folder / "history.jsonl", "a") as file:
        file.write('{"step": 15')  # cut short by a crash
    assert train(config)[1]["steps"] == 1520
    assert [record["step"] for record in run_folder.read_history(folder)] == [1520]


def last_weights(folder):
    model = run_folder.load_model(folder)
    return np.concatenate([v.numpy().ravel() for v in model.trainable_variables])


def wait_for(path, process):
    """Until the running process has made the file."""
    deadline = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def test_killed_in_mid_run_and_resumed_it_ends_with_the_same_weights(run_script, tmp_path):
    base = ["train.py", "--runs-dir", tmp_path, *SHORT]
    assert run_script(*base, "--name", "whole").returncode == 0

    killed = run_script(*base, "--name", "killed", start=subprocess.Popen, stderr=subprocess.DEVNULL)
    wait_for(tmp_path / "killed" / "checkpoints" / "step-40.index", killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "checkpoints" / "step-300.index").exists()

    done = run_script(*base, "--name", "killed", "--resume")
    assert done.returncode == 0 and "Going on from step" in done.stdout, done.stderr
    whole, resumed = (last_weights(tmp_path / name) for name in ("whole", "killed"))
    np.testing.assert_array_equal(resumed, whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_end_with_a_clear_line(run_script, tmp_path, number):
    flags = [
        "--runs-dir",
        tmp_path,
        "--name",
        "stopped",
        "--steps",
        100_000,
        "--checkpoint-every",
        100_000,
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    process = run_script("train.py", *flags, start=subprocess.Popen, **pipes)
    next(line for line in process.stdout if line.startswith("Training"))
    process.send_signal(number)
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 128 + number
    (path,) = run_folder.checkpoint_paths(tmp_path / "stopped")
    step = int(path.rsplit("-", 1)[1])
    assert f"Stopped by {number.name}: step {step:,} is saved" in printed


@pytest.fixture
def start_workers(run_script, tmp_path):
    """Starts two workers of one MultiWorkerMirroredStrategy on this machine."""

    def start(*flags):
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
        for each in sockets:
            each.close()
        workers = []
        for index in range(2):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            options = {
                "start": subprocess.Popen, "env": {**os.environ, "TF_CONFIG": json.dumps(task)},
                "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True,
            }  # fmt: skip
            run = ["--runs-dir", tmp_path, "--name", "both", "--steps-per-call", 10]
            workers.append(run_script("train.py", *run, *flags, **options))
        return workers

    return start


def test_two_workers_train_one_model(start_workers, tmp_path):
    workers = start_workers("--steps", 20)
    printed = [worker.communicate(timeout=240)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], printed
    metrics = json.loads((tmp_path / "both" / "metrics.json").read_text())
    assert metrics["steps"] == 20 and [path.name for path in tmp_path.iterdir()] == ["both"]
    elbos = [next(line for line in out.splitlines() if line.startswith("elbo ")) for out in printed]
    assert elbos[0] == elbos[1]  # both workers end with the same weights


def test_a_signal_to_one_worker_stops_both(start_workers, tmp_path):
    workers = start_workers("--steps", 100_000, "--checkpoint-every", 100_000)
    for worker in workers:
        next(line for line in worker.stdout if line.startswith("Training"))
    workers[1].send_signal(signal.SIGTERM)
    printed = [worker.communicate(timeout=240)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [143, 143], printed
    assert all("Stopped by SIGTERM" in out for out in printed)
    assert len(run_folder.checkpoint_paths(tmp_path / "both")) == 1


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--learning-rat", "1"], "learning-rat"),
        (["--dataset", "cifar"], "multi_mnist"),
        (["--max-objects", "0"], "Expected max_objects above 0. Received: max_objects=0."),
        (["--learning-rate", "-1"], "Expected learning_rate above 0. Received: learning_rate=-1.0."),
        (["--glimpse-size", "1"], "glimpse_size at least 2"),
        (["--digits", "mnist", "--mnist", "missing.npz"], "Received: missing.npz"),
        (["--name", "none", "--resume"], "Expected a run to resume"),
    ],
)
def test_bad_flags_are_one_clear_message(tmp_path, flags, message):
    command = [sys.executable, "train.py", "--runs-dir", str(tmp_path / "runs"), *flags]
    if "--digits" not in flags:
        command += ["--digits", "embedded", "--cache-dir", str(tmp_path)]
    root = os.path.dirname(os.path.dirname(air_tf.__file__))
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 2
    said = " ".join(done.stderr.replace("│", " ").split())  # tyro breaks lines in a box
    assert message in said and "Traceback" not in said
    assert not (tmp_path / "runs").exists()


def test_export_of_what_is_no_run_is_refused(run_script, tmp_path):
    done = run_script("export.py", "--run", tmp_path, "--out", tmp_path / "air")
    assert done.returncode == 2 and "error: Expected the folder of a run" in done.stderr
    assert not (tmp_path / "air").exists()
    record = {"model": {}, "data": {}, "training": {}, "digits_fingerprint": ""}
    (tmp_path / "config.json").write_text(json.dumps(record))
    done = run_script("export.py", "--run", tmp_path, "--out", tmp_path / "air")
    assert done.returncode == 2 and "Expected a run with a checkpoint" in done.stderr
