"""The scripts, called as a user calls them; what needs processes of its own is slow."""

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf

from air_tf import Config, replaced
from air_tf.training import checkpoints, run_record
from air_tf.training.trainer import Trainer
from tests.conftest import SHORT_RUN


def test_metrics_are_those_of_the_model_that_is_saved(short_run, cache_dir):
    folder, printed = short_run
    metrics = json.loads((folder / "metrics.json").read_text())
    data = replaced(run_record.read_config(folder).data, cache_dir=str(cache_dir))
    split = data.load().splits["test"]
    model = run_record.load_model(folder)
    scene = model.infer(split.float_images())
    assert metrics["count_accuracy"] == pytest.approx(np.mean(scene.counts == split.counts))
    elbo = model.elbo(split.float_images())["elbo"]
    assert metrics["elbo"] == pytest.approx(np.mean(elbo), rel=1e-4)
    assert metrics["steps"] == 4 and metrics["digits"] == "embedded" and len(split) == 60
    assert "scikit-learn" in printed and "count_accuracy" in printed


def test_tensorboard_has_scalars_and_pictures(short_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(short_run[0]), size_guidance={"tensors": 0}).Reload()
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
    assert steps == [2, 4]
    rates = [float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors("train/learning_rate")]
    np.testing.assert_allclose(rates[1], 1e-3 * 0.5, rtol=1e-3)  # a cosine, half way


def test_samples_are_a_picture(short_run):
    from PIL import Image

    with Image.open(short_run[0] / "samples.png") as picture:
        assert picture.width > 800 and len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_export_prints_the_version_it_wrote(short_run, run_script, tmp_path):
    (tmp_path / "air" / "1").mkdir(parents=True)
    done = run_script("export.py", "--run", short_run[0], "--out", tmp_path / "air")
    assert done.stdout.splitlines()[-1] == str(tmp_path / "air" / "2"), done.stderr
    images = np.random.default_rng(0).random((2, 50, 50, 1), np.float32)
    served = tf.saved_model.load(str(tmp_path / "air" / "2")).signatures["serving_default"]
    expected = run_record.load_model(short_run[0]).infer(images)
    probabilities = served(tf.constant(images))["count_probs"]
    np.testing.assert_allclose(probabilities, expected.count_probs, atol=1e-5)


@pytest.fixture
def run_copy(short_run, tmp_path):
    """A copy of the short run; the flags that go on with it."""
    folder = shutil.copytree(short_run[0], tmp_path / "copy")
    return folder, ["train.py", "--runs-dir", tmp_path, "--name", "copy", *SHORT_RUN, "--resume"]


@pytest.mark.usefixtures("eagerly")
def test_resume_goes_on_to_more_steps_but_not_to_fewer(run_copy, run_script):
    folder, again = run_copy
    done = run_script(*again, "--steps", 5)
    assert "Going on from step 4" in done.stdout, done.stderr
    metrics = (folder / "metrics.json").read_text()
    assert json.loads(metrics)["steps"] == 5
    done = run_script(*again, "--steps", 3)
    assert done.returncode == 2
    assert "error: Expected at least the 5 steps" in done.stderr
    assert (folder / "metrics.json").read_text() == metrics


@pytest.mark.usefixtures("eagerly")
def test_it_stops_at_an_accuracy_and_a_resumed_run_knows_it_has(run_copy, run_script):
    folder, again = run_copy
    assert [record["step"] for record in run_record.read_history(folder)] == [2, 4]
    (folder / "history.jsonl").unlink()
    again += ["--steps", 9000, "--stop-at-accuracy", 1e-9]  # which any right count has

    def steps():
        done = run_script(*again)
        assert done.returncode == 0, done.stderr
        return json.loads((folder / "metrics.json").read_text())["steps"]

    assert steps() == 6  # the first evaluation has it
    with open(folder / "history.jsonl", "a") as file:
        file.write('{"step": 15')  # cut short by a crash
    assert steps() == 6
    assert [record["step"] for record in run_record.read_history(folder)] == [6]


def last_weights(folder):
    model = run_record.load_model(folder)
    return np.concatenate([v.numpy().ravel() for v in model.trainable_variables])


@pytest.mark.usefixtures("eagerly")
def test_stopped_and_resumed_it_ends_with_the_same_weights(short_run, run_script, tmp_path, monkeypatch):
    run_steps = Trainer.run

    def run_and_be_stopped(trainer, num_steps):
        values = run_steps(trainer, num_steps)
        if trainer.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return values

    base = ["train.py", "--runs-dir", tmp_path, "--name", "stopped", *SHORT_RUN]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", run_and_be_stopped)
        done = run_script(*base)
    assert done.returncode == 128 + signal.SIGTERM
    assert "Stopped by SIGTERM: step 3 is saved" in done.stdout
    assert checkpoints.steps(tmp_path / "stopped") == [3]
    done = run_script(*base, "--resume")
    assert "Going on from step 3" in done.stdout, done.stderr
    np.testing.assert_array_equal(last_weights(tmp_path / "stopped"), last_weights(short_run[0]))


def wait_for(path, process):
    """Until the running process has made the file."""
    deadline = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_in_mid_run_and_resumed_it_ends_with_the_same_weights(run_script, start_script, tmp_path):
    often = ["--steps", 120, "--steps-per-call", 10, "--checkpoint-every", 20, "--max-objects", 1]
    base = ["train.py", "--runs-dir", tmp_path, *SHORT_RUN, *often, "--evaluate-every", 120]
    assert run_script(*base, "--name", "whole").returncode == 0

    killed = start_script(*base, "--name", "killed", stderr=subprocess.DEVNULL)
    wait_for(tmp_path / "killed" / "checkpoints" / "step-20.index", killed)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL  # it had not ended yet
    done = run_script(*base, "--name", "killed", "--resume")
    assert done.returncode == 0 and "Going on from step" in done.stdout, done.stderr
    whole, resumed = (last_weights(tmp_path / name) for name in ("whole", "killed"))
    np.testing.assert_array_equal(resumed, whole)


@pytest.mark.slow
def test_ctrl_c_saves_and_ends_with_a_clear_line(start_script, tmp_path):
    flags = ["--runs-dir", tmp_path, "--name", "stopped", *SHORT_RUN]
    flags += ["--steps", 100_000, "--checkpoint-every", 100_000, "--evaluate-every", 100_000]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    process = start_script("train.py", *flags, **pipes)
    next(line for line in process.stdout if line.startswith("Training"))
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 128 + signal.SIGINT
    (path,) = checkpoints.paths(tmp_path / "stopped")
    step = int(path.rsplit("-", 1)[1])
    assert f"Stopped by SIGINT: step {step:,} is saved" in printed


@pytest.fixture
def start_workers(start_script, tmp_path):
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
                "env": {**os.environ, "TF_CONFIG": json.dumps(task)},
                "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True,
            }  # fmt: skip
            run = ["--runs-dir", tmp_path, "--name", "both", *SHORT_RUN, "--max-objects", 1]
            run += ["--steps-per-call", 10, "--evaluate-every", 100_000]
            workers.append(start_script("train.py", *run, *flags, **options))
        return workers

    return start


@pytest.mark.slow
def test_two_workers_train_one_model(start_workers, tmp_path):
    workers = start_workers("--steps", 20)
    printed = [worker.communicate(timeout=240)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], printed
    metrics = json.loads((tmp_path / "both" / "metrics.json").read_text())
    assert metrics["steps"] == 20 and [path.name for path in tmp_path.iterdir()] == ["both"]
    elbos = [next(line for line in out.splitlines() if line.startswith("elbo ")) for out in printed]
    assert elbos[0] == elbos[1]  # both workers end with the same weights


@pytest.mark.slow
def test_a_signal_to_one_worker_stops_both(start_workers, tmp_path):
    workers = start_workers("--steps", 100_000, "--checkpoint-every", 100_000)
    for worker in workers:
        next(line for line in worker.stdout if line.startswith("Training"))
    workers[1].send_signal(signal.SIGTERM)
    printed = [worker.communicate(timeout=240)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [143, 143], printed
    assert all("Stopped by SIGTERM" in out for out in printed)
    assert len(checkpoints.paths(tmp_path / "both")) == 1


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--learning-rat", "1"], "learning-rat"),
        (["--dataset", "cifar"], "multi_mnist"),
        (["--max-objects", "0"], "Expected max_objects at least 1. Received: max_objects=0."),
        (
            ["--learning-rate", "-1"],
            "Expected learning_rate at least 1e-12. Received: learning_rate=-1.0.",
        ),
        (["--glimpse-size", "1"], "glimpse_size at least 2"),
        (["--digits", "mnist", "--mnist", "missing.npz"], "Received: missing.npz"),
        (["--name", "none", "--resume"], "Expected a run to resume"),
    ],
)
def test_bad_flags_are_one_clear_message(run_script, tmp_path, flags, message):
    done = run_script("train.py", "--runs-dir", tmp_path / "runs", *SHORT_RUN, *flags)
    assert done.returncode == 2
    said = " ".join(done.stderr.replace("│", " ").split())  # tyro breaks lines in a box
    assert message in said and "Traceback" not in said
    assert not (tmp_path / "runs").exists()


def test_export_of_what_is_no_run_is_refused(run_script, tmp_path):
    done = run_script("export.py", "--run", tmp_path, "--out", tmp_path / "air")
    assert done.returncode == 2 and "error: Expected the folder of a run" in done.stderr
    assert not (tmp_path / "air").exists()
    record = {**dataclasses.asdict(Config()), "digits_fingerprint": ""}
    (tmp_path / "config.json").write_text(json.dumps(record))
    done = run_script("export.py", "--run", tmp_path, "--out", tmp_path / "air")
    assert done.returncode == 2 and "Expected a run with a checkpoint" in done.stderr
