"""The loop inside of one process; test_scripts.py has what needs whole processes."""

import dataclasses
import json
import re
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import SHORT_RUN
from matplotlib.figure import Figure

from air_tf import AIR, replaced
from air_tf.config import Config, TrainingConfig
from air_tf.data.base import Dataset, DatasetBase
from air_tf.data.split import Split
from air_tf.training import checkpoints, loop, run_folder, run_record
from air_tf.training.trainer import Diverged, Trainer, names_workers

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 12, 10, 1), np.uint8)


@pytest.fixture
def new_trainer(small_config):
    """Makes trainers that have not run."""

    def make(presence="enumerate", **changes):
        training = TrainingConfig(**{"steps": 200, "batch_size": 8, "learning_rate": 1e-2} | changes)
        model = replaced(small_config, presence=presence, max_objects=1)  # what compiles soonest
        return Trainer(Config(model=model, training=training), IMAGES, tf.distribute.get_strategy())

    return make


@pytest.fixture(scope="module")
def compiled():
    """A trainer of each estimator, and what its variables began with."""
    return {}


@pytest.fixture
def make_trainer(new_trainer, compiled):
    """Trainers at their first step, to be run. Compiling takes ten seconds, so it is done once for each
    estimator: those made before are the same object, which begins anew."""

    def make(presence="enumerate"):
        if presence not in compiled:
            trainer = new_trainer(presence)
            compiled[presence] = trainer, [variable.numpy() for variable in variables(trainer)]
        trainer, initial = compiled[presence]
        for variable, value in zip(variables(trainer), initial):
            variable.assign(value)
        trainer.start()
        return trainer

    return make


def variables(trainer):
    estimators = getattr(trainer.model.estimator, "optimizer", None)
    optimizers = [*trainer.optimizer.variables, *(estimators.variables if estimators else [])]
    return [*trainer.model.variables, *optimizers, trainer.seconds]


def weights(trainer):
    return np.concatenate([v.numpy().ravel() for v in trainer.model.variables])


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("presence", ["enumerate", "nvil", "concrete"])
def test_the_loop_and_keras_fit_train_alike(new_trainer, presence):
    """The same batches, noise and optimizers: the same weights."""
    trainer, other = new_trainer(presence), new_trainer(presence)
    trainer.start()
    trainer.run(3)
    other.model.compile(other.optimizer, run_eagerly=True)
    other.model.fit(_batches(3), shuffle=False, verbose=0)
    np.testing.assert_allclose(weights(other), weights(trainer), atol=1e-6)


@pytest.mark.slow
def test_compiled_they_train_alike_too(make_trainer, new_trainer):
    """XLA's rounding apart.

    Where a gradient is no more than its rounding, Adam may go either way: these are few.
    """
    trainer = make_trainer()
    trainer.run(5)
    other = new_trainer()
    model = other.model
    model.compile(other.optimizer, jit_compile=True)
    model.fit(_batches(5), shuffle=False, verbose=0)
    assert np.mean(np.abs(weights(other) - weights(trainer)) > 1e-5) < 0.01


def _batches(steps):
    from air_tf.data.split import batches

    return batches(IMAGES, 8, 0, 0, steps)


def test_training_raises_the_elbo(make_trainer):
    elbo = make_trainer().run(200)[:, 0]
    first, last = elbo[:20], elbo[-20:]
    assert last.mean() - first.mean() > 5 * np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / 20)


def test_gradient_norm_and_steps_are_reported(make_trainer):
    trainer = make_trainer()
    values = trainer.run(3)
    assert values.shape == (3, len(trainer.metrics)) and trainer.step == 3
    [gradients, _], _ = make_trainer().gradients(next(iter(_batches(1))), tf.constant(0, tf.int64))
    norm = np.sqrt(sum(np.sum(np.square(g.numpy(), dtype=np.float64)) for g in gradients))
    assert values[0, trainer.metrics.index("gradient_norm")] == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize("presence", ["enumerate", "nvil"])  # concrete has no state of its own
def test_a_resumed_run_equals_an_uninterrupted_one(make_trainer, tmp_path, presence):
    whole = make_trainer(presence)
    whole.run(20)
    expected = weights(whole)
    first = make_trainer(presence)
    first.run(7)
    first.save(tmp_path)
    second = make_trainer(presence)
    assert checkpoints.restore(second.checkpoint, tmp_path).endswith("step-7")
    assert second.step == 7 and float(second.seconds) > 0
    second.start()
    second.run(13)
    np.testing.assert_array_equal(weights(second), expected)


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty the index"])
def test_a_damaged_checkpoint_is_passed_over_and_said(
    make_trainer, new_trainer, tmp_path, capsys, damage
):
    trainer = make_trainer()
    trainer.run(2)
    trainer.save(tmp_path)
    good = weights(trainer)
    trainer.run(2)
    trainer.save(tmp_path)
    data = tmp_path / "checkpoints" / "step-4.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    if damage == "truncate":
        data.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 255
        data.write_bytes(content)
    else:
        (tmp_path / "checkpoints" / "step-4.index").write_bytes(b"")
    other = new_trainer()
    assert checkpoints.restore(other.checkpoint, tmp_path).endswith("step-2")
    assert "step-4 is damaged" in capsys.readouterr().err
    np.testing.assert_array_equal(weights(other), good)
    assert other.step == 2


def test_only_damaged_checkpoints_are_an_error(make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.save(tmp_path)
    (tmp_path / "checkpoints" / "step-0.data-00000-of-00001").write_bytes(b"")
    with pytest.raises(ValueError, match="Expected a readable checkpoint.*1 damaged"):
        checkpoints.restore(trainer.checkpoint, tmp_path)


def test_old_checkpoints_are_removed(make_trainer, tmp_path):
    trainer = make_trainer()
    for _ in range(5):
        trainer.run(1)
        trainer.save(tmp_path)
    names = [path.rsplit("/", 1)[1] for path in checkpoints.paths(tmp_path)]
    assert names == ["step-3", "step-4", "step-5"]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 6


def test_a_full_disk_leaves_the_previous_checkpoint_good(make_trainer, new_trainer, tmp_path):
    trainer = make_trainer()
    trainer.run(1)
    trainer.save(tmp_path)
    good = weights(trainer)
    trainer.run(1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # bytes that a file may have
    try:
        with pytest.raises(OSError, match="step-2 cannot be written, earlier ones stay"):
            trainer.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    other = new_trainer()
    assert checkpoints.restore(other.checkpoint, tmp_path).endswith("step-1")
    np.testing.assert_array_equal(weights(other), good)


def test_a_loss_that_is_not_finite_stops_at_its_step(make_trainer):
    trainer = make_trainer()
    trainer.run(3)
    kernel = trainer.model.objects.decoder.layers[0].outputs.kernel
    kernel.assign(tf.fill(kernel.shape, np.nan))
    with pytest.raises(Diverged, match="no longer finite at step 4"):
        trainer.run(3)


def dataset_of(split, **options):
    """A data set of one split, as far as it is evaluated on while training."""
    return Dataset({"test": split}, DatasetBase(), "", "", {}, **options)


def test_training_stops_when_its_folder_is_removed(make_trainer, tmp_path, monkeypatch):
    trainer, folder = make_trainer(), tmp_path / "run"
    folder.mkdir()

    def run(num_steps):
        shutil.rmtree(folder)
        return np.zeros((num_steps, len(trainer.metrics)))

    one_at_a_time = dataclasses.replace(trainer.config.training, steps_per_call=1)
    config = dataclasses.replace(trainer.config, training=one_at_a_time)
    monkeypatch.setattr(trainer, "config", config)
    monkeypatch.setattr(trainer, "run", run)
    with pytest.raises(OSError, match="Expected the run's folder to stay in its place"):
        loop._train(trainer, dataset_of(Split.unlabelled(IMAGES)), folder, [])


def test_a_disk_that_is_full_leaves_no_half_written_checkpoint(make_trainer, tmp_path, monkeypatch):
    trainer = make_trainer()

    def full(path):
        (tmp_path / "checkpoints" / "step-0_temp").mkdir(parents=True)
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\nmore")

    monkeypatch.setattr(trainer.checkpoint, "write", full)
    with pytest.raises(OSError, match="earlier ones stay: No space left on device$"):
        trainer.save(tmp_path)
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize(
    "tf_config", ["[1]", "{", "\udcff", '{"cluster": 1}', '{"cluster": {"worker": [1]}}', "[" * 10_000,
                  '{"cluster": {"worker": ["a:1"]}}',
                  '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
                  '{"cluster": {"worker": ["a:1"]}, "task": {"type": "boss", "index": 0}}'],
)  # fmt: skip
def test_a_tf_config_that_names_no_worker_is_refused(tf_config):
    with pytest.raises(ValueError, match=r"Expected .* TF_CONFIG.*Received"):
        names_workers(tf_config)


def test_a_tf_config_with_a_task_of_its_cluster():
    cluster = {"worker": ["a:1", "b:1"]}
    assert names_workers(json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 1}}))
    assert not names_workers("") and not names_workers("{}")


@pytest.mark.usefixtures("eagerly")
def test_what_a_data_set_measures_and_pictures_is_looked_at_too(new_trainer, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def measure(scene, split):
        return {"own": len(scene.counts) + len(split)}

    def picture(scene, split):
        figure = Figure(figsize=(2, 1), dpi=50)
        figure.subplots().bar(0, len(scene.counts))
        return {"bars": ("How many.", figure)}

    split = Split.unlabelled(IMAGES[:6])
    dataset = dataset_of(split, measure=measure, picture=picture)
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        seen = loop.look(new_trainer(), dataset, split, 7, tmp_path)
        tf.summary.flush()
    assert seen["own"] == 12 and run_record.read_history(tmp_path)[0]["own"] == 12
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    assert {"bars", "scenes"} <= {*events.Tags()["tensors"]}
    width, height, png = tf.make_ndarray(events.Tensors("bars")[0].tensor_proto)[:3]
    assert (int(width), int(height)) == (100, 50)
    assert np.ptp(tf.io.decode_png(png).numpy()) > 100


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    "logit, words", [(30.0, "the same count, 2, the most there can be"), (-30.0, "the same count, 0")]
)
def test_a_collapse_is_said_while_training(small_config, digit_splits, tmp_path, logit, words):
    config = Config(model=replaced(small_config, image_shape=(50, 50, 1)))
    trainer = Trainer(config, digit_splits["train"].images, tf.distribute.get_strategy())
    trainer.model.inference.pres_head.outputs.bias.assign([logit])
    for step, end in (100, "until step 1,500, may still end it."), (2000, ""):
        split = digit_splits["test"]
        said = loop.look(trainer, dataset_of(split), split, step, tmp_path)["collapse"]
        assert said.startswith(f"Step {step:,}: Collapse: 100% of the images are given {words}")
        assert ("Try" in said or "try" in said) and said.endswith(end)
        assert ("warm start, until" in said) == (step == 100)
    trainer.model.inference.pres_head.outputs.bias.assign([0.0])
    counts = np.arange(100) % 3
    assert loop.collapse_at(trainer, counts, None, 2000) is None


@pytest.mark.usefixtures("eagerly")
def test_a_collapse_is_said_when_it_begins_and_in_the_verdict(run_script, tmp_path):
    flags = [*SHORT_RUN, "--test-images", 100, "--decoder-bias", -30, "--rho", 1e-30]
    done = run_script("train.py", "--runs-dir", tmp_path, "--name", "run", *flags)
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"Step (\d+): Collapse", done.stderr)
    verdict = json.loads((tmp_path / "run" / "metrics.json").read_text())["verdict"]
    assert all(line in done.stdout for line in verdict)
    assert lines == ["2"] and verdict[1].startswith("Collapse: 100%")


@pytest.mark.parametrize("steps, expected", [(5000, 1500), (7, 2), (10_000, 3000)])
def test_the_warm_start_is_three_tenths_of_the_steps(steps, expected):
    config = replaced(Config(), steps=steps)
    assert run_folder.with_warm_start(config).model.estimator.warm_start_steps == expected
    assert AIR().estimator.warm_start_steps == 1500
    for chosen in replaced(config, warm_start_steps=0), replaced(config, presence="nvil"):
        assert run_folder.with_warm_start(chosen) == chosen


STRATEGIES = """
import os
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from air_tf import Config, TrainingConfig, replaced
from air_tf.data.split import batches
from air_tf.training.trainer import Trainer
random = np.random.default_rng(0)
images = random.integers(0, 256, (40, 12, 10, 1), np.uint8)
# no clipping: each replica clips its own share
training = TrainingConfig(steps=4, batch_size=8, gradient_clip=1e6)
config = replaced(Config(training=training), image_shape=(12, 10, 1), max_objects=1, glimpse_size=6,
                  z_what_size=4, embedding_units=8, lstm_units=8, hidden_units=8)
config = replaced(config, presence="nvil", baseline_clip=1e6)
mirrored = Trainer(config, images, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
assert mirrored.strategy.num_replicas_in_sync == 2
mirrored.start()
metrics = mirrored.run(4)

# by hand, on one device: the sum of both replicas' shares of the gradient
alone = Trainer(config, images, tf.distribute.get_strategy())
elbo = []
for step, x in enumerate(batches(images, 8, 0, 0, 4)):
    now = tf.constant(step, tf.int64)
    shares = [alone.gradients(x[4 * r:4 * r + 4], now, tf.constant(r), 2) for r in range(2)]
    (ours, estimate), (theirs, other) = shares
    elbo.append(np.mean([estimate.terms["elbo"], other.terms["elbo"]]))
    mean = lambda a, b: None if a is None else (a + b) / 2
    gradients = tf.nest.map_structure(lambda a, b: a + b, ours, theirs)
    estimate = estimate._replace(signal=mean(estimate.signal, other.signal))
    alone.model.apply_gradients(alone.optimizer, gradients, estimate)
np.testing.assert_allclose(metrics[:, 0], elbo, rtol=1e-4)
for ours, expected in zip(mirrored.model.variables, alone.model.variables):
    np.testing.assert_allclose(ours.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)
print("same", flush=True)
os._exit(0)  # tf.data's per-device iterators take up to a minute to end
"""


@pytest.mark.slow
def test_two_replicas_train_like_one_device_with_their_mean_gradient():
    """With a learning signal, whose state is summed over the replicas too."""
    done = subprocess.run([sys.executable, "-c", STRATEGIES], capture_output=True, text=True)
    assert done.stdout.endswith("same\n"), done.stderr


@pytest.mark.parametrize("presence", ["enumerate", "nvil", "concrete"])
def test_a_replica_adds_its_share_of_the_gradient(new_trainer, presence):
    model = new_trainer(presence).model
    x = tf.constant(IMAGES[:4] / np.float32(255))
    whole, _ = model.gradients(x, 3, replica=1)
    share, _ = model.gradients(x, 3, replica=1, num_replicas=2)
    other, _ = model.gradients(x, 3, replica=0, num_replicas=2)
    for ours, theirs in zip(share[0], whole[0], strict=True):
        np.testing.assert_allclose(2 * ours, theirs, rtol=1e-5, atol=1e-5)
    assert any((ours != theirs).numpy().any() for ours, theirs in zip(share[0], other[0]))
