"""The loop inside of one process; test_scripts.py has what needs whole processes."""

import dataclasses
import json
import resource
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import air_tf
from air_tf import run as run_folder
from air_tf import training
from air_tf.config import Config, RunConfig, TrainingConfig
from air_tf.trainer import STEP_METRICS, Diverged, Trainer

FINGERPRINT = "digits"
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 12, 10, 1), np.uint8)


@pytest.fixture
def new_trainer(small_config):
    """Makes trainers that have not run."""

    def make(presence="enumerate", **changes):
        training = TrainingConfig(**{"steps": 200, "batch_size": 8, "learning_rate": 1e-2} | changes)
        config = Config(model=dataclasses.replace(small_config, presence=presence), training=training)
        return Trainer(config, IMAGES, tf.distribute.get_strategy())

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
    optimizers = [v for optimizer in trainer.optimizers for v in optimizer.variables]
    return [*trainer.model.variables, *optimizers, trainer.seconds]


def weights(trainer):
    return np.concatenate([v.numpy().ravel() for v in trainer.model.variables])


@pytest.mark.parametrize("presence", ["enumerate", pytest.param("nvil", marks=pytest.mark.slow)])
def test_the_loop_and_keras_fit_train_alike(make_trainer, new_trainer, presence):
    """The same batches, noise and optimizers: the same weights, XLA's rounding apart.

    Where a gradient is no more than its rounding, Adam may go either way: these are few.
    """
    trainer = make_trainer(presence)
    trainer.run(5)
    other = new_trainer(presence)
    model = other.model
    model.compile(*other.optimizers, jit_compile=True)
    model.fit(_batches(5), shuffle=False, verbose=0)
    assert np.mean(np.abs(weights(other) - weights(trainer)) > 1e-5) < 0.01


def _batches(steps):
    from air_tf.data import batches

    return batches(IMAGES, 8, 0, 0, steps)


def test_training_raises_the_elbo(make_trainer):
    elbo = make_trainer().run(200)[:, STEP_METRICS.index("elbo")]
    first, last = elbo[:20], elbo[-20:]
    assert last.mean() - first.mean() > 5 * np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / 20)


def test_gradient_norm_and_steps_are_reported(make_trainer):
    trainer = make_trainer()
    values = trainer.run(3)
    assert values.shape == (3, len(STEP_METRICS)) and trainer.step == 3
    [gradients], _ = make_trainer().gradients(next(iter(_batches(1))), tf.constant(0, tf.int64))
    norm = np.sqrt(sum(np.sum(np.square(g.numpy(), dtype=np.float64)) for g in gradients))
    assert values[0, STEP_METRICS.index("gradient_norm")] == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize("presence", ["enumerate", "nvil"])  # concrete has no state of its own
def test_a_resumed_run_equals_an_uninterrupted_one(make_trainer, tmp_path, presence):
    whole = make_trainer(presence)
    whole.run(20)
    expected = weights(whole)
    first = make_trainer(presence)
    first.run(7)
    first.save(tmp_path)
    second = make_trainer(presence)
    assert run_folder.restore(second.checkpoint, tmp_path).endswith("step-7")
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
    assert run_folder.restore(other.checkpoint, tmp_path).endswith("step-2")
    assert "step-4 is damaged" in capsys.readouterr().err
    np.testing.assert_array_equal(weights(other), good)
    assert other.step == 2


def test_only_damaged_checkpoints_are_an_error(make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.save(tmp_path)
    (tmp_path / "checkpoints" / "step-0.data-00000-of-00001").write_bytes(b"")
    with pytest.raises(ValueError, match="Expected a readable checkpoint.*1 damaged"):
        run_folder.restore(trainer.checkpoint, tmp_path)


def test_old_checkpoints_are_removed(make_trainer, tmp_path):
    trainer = make_trainer()
    for _ in range(5):
        trainer.run(1)
        trainer.save(tmp_path)
    names = [path.rsplit("/", 1)[1] for path in run_folder.checkpoint_paths(tmp_path)]
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
    assert run_folder.restore(other.checkpoint, tmp_path).endswith("step-1")
    np.testing.assert_array_equal(weights(other), good)


def test_a_loss_that_is_not_finite_stops_at_its_step(make_trainer):
    trainer = make_trainer()
    trainer.run(3)
    kernel = trainer.model.cell.decode.mlp.outputs.kernel
    kernel.assign(tf.fill(kernel.shape, np.nan))
    with pytest.raises(Diverged, match="no longer finite at step 4"):
        trainer.run(3)


@pytest.fixture
def config(tmp_path):
    data = air_tf.DataConfig(digits="embedded")
    return Config(data=data, run=RunConfig(runs_dir=str(tmp_path)))


def changed(config, part, **fields):
    return dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **fields)})


def test_runs_are_numbered_and_the_newest_is_resumed(config, tmp_path):
    folders = []
    for _ in range(11):
        folders.append(run_folder.open_folder(config, FINGERPRINT))
        run_folder.write_config(config, FINGERPRINT, folders[-1])
    assert [folder.name for folder in folders[:2]] == [
        "multi_mnist-embedded-seed0",
        "multi_mnist-embedded-seed0-2",
    ]
    assert run_folder.open_folder(changed(config, "run", resume=True), FINGERPRINT) == folders[10]


def test_a_taken_name_is_refused(config):
    named = changed(config, "run", name="mine")
    run_folder.open_folder(named, FINGERPRINT)
    with pytest.raises(ValueError, match="Expected the name of a new run.*--resume"):
        run_folder.open_folder(named, FINGERPRINT)


def test_resuming_nothing_is_refused(config):
    with pytest.raises(ValueError, match="Expected a run to resume"):
        run_folder.open_folder(changed(config, "run", resume=True), FINGERPRINT)


def test_resuming_another_config_says_which_field(config):
    run_folder.write_config(config, FINGERPRINT, run_folder.open_folder(config, FINGERPRINT))
    resumed = changed(config, "run", resume=True)
    for part, fields in (
        ("training", {"learning_rate": 0.1}),
        ("model", {"max_objects": 4}),
        ("model", {"scale_prior": (2.0, 0.2)}),
    ):
        (name,) = fields
        with pytest.raises(ValueError, match=f"Expected {name}=.*Received: {name}="):
            run_folder.open_folder(changed(resumed, part, **fields), FINGERPRINT)
    longer = changed(resumed, "training", steps=9000)  # is no other config
    assert run_folder.open_folder(longer, FINGERPRINT).is_dir()


def test_resuming_on_other_digits_is_refused(config):
    run_folder.write_config(config, FINGERPRINT, run_folder.open_folder(config, FINGERPRINT))
    with pytest.raises(ValueError, match="Expected the digits or pictures with which"):
        run_folder.open_folder(changed(config, "run", resume=True), "others")


def test_a_run_that_never_began_is_not_the_newest(config):
    begun = run_folder.open_folder(config, FINGERPRINT)
    run_folder.write_config(config, FINGERPRINT, begun)
    run_folder.open_folder(config, FINGERPRINT)
    assert run_folder.open_folder(changed(config, "run", resume=True), FINGERPRINT) == begun


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": {"depth": 3}}', '{"model": {}}'])
def test_a_damaged_config_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=f"Expected the config of a run in {tmp_path}"):
        run_folder.load_model(tmp_path)


def test_a_run_in_use_is_refused(config):
    folder = run_folder.open_folder(config, FINGERPRINT)
    script = (
        "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); "
        "print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(folder / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with (
            pytest.raises(ValueError, match="no other training is using"),
            run_folder.lock(folder),
        ):
            pass
        holder.stdin.close()
    for _ in range(2):
        with run_folder.lock(folder):
            pass


@pytest.mark.parametrize("logit, words", [(30.0, "always N"), (-30.0, "the same count, 0")])
def test_a_collapse_is_said_while_training(small_config, digit_splits, capsys, tmp_path, logit, words):
    config = Config(model=dataclasses.replace(small_config, image_shape=(50, 50, 1)))
    trainer = Trainer(config, digit_splits["train"].images, tf.distribute.get_strategy())
    trainer.model.cell.pres_head.outputs.bias.assign([logit])
    training.look(trainer, digit_splits["test"], 100, tmp_path)  # in the warm start it means nothing
    assert "Collapse" not in capsys.readouterr().err
    training.look(trainer, digit_splits["test"], 2000, tmp_path)
    assert f"Collapse at step 2,000: 100% of the images are given {words}" in capsys.readouterr().err


def test_config_json_says_what_was_run(config):
    folder = run_folder.open_folder(config, FINGERPRINT)
    run_folder.write_config(config, FINGERPRINT, folder)
    record = json.loads((folder / "config.json").read_text())
    assert record["digits"] == "embedded" and record["seed"] == 0
    assert record["versions"]["tensorflow"] == tf.__version__
    assert record["model"]["max_objects"] == 3


STRATEGIES = """
import sys
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from air_tf.config import Config, ModelConfig, TrainingConfig
from air_tf.data import batches
from air_tf.trainer import Trainer
random = np.random.default_rng(0)
images = random.integers(0, 256, (40, 12, 10, 1), np.uint8)
model = ModelConfig(image_shape=(12, 10, 1), max_objects=2, glimpse_size=6, z_what_size=4,
                    embedding_units=8, lstm_units=8, hidden_units=8, presence=sys.argv[1])
# no clipping: each replica clips its own share
config = Config(model=model, training=TrainingConfig(steps=4, batch_size=8, gradient_clip=1e6))
mirrored = Trainer(config, images, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
assert mirrored.strategy.num_replicas_in_sync == 2
mirrored.start()
metrics = mirrored.run(4)

# by hand, on one device: the sum of both replicas' shares of the gradient
alone = Trainer(config, images, tf.distribute.get_strategy())
elbo = []
for step, x in enumerate(batches(images, 8, 0, 0, 4)):
    shares = [alone.gradients(x[4 * r:4 * r + 4], tf.constant(step, tf.int64), r, 2) for r in range(2)]
    whole, _ = alone.gradients(x[:4], tf.constant(step, tf.int64), 0, 1)
    for share, gradient in zip(shares[0][0][0], whole[0]):
        np.testing.assert_allclose(2 * share, gradient, rtol=1e-4, atol=1e-4)
    (ours, estimate), (theirs, other) = shares
    elbo.append(np.mean([estimate.terms.elbo, other.terms.elbo]))
    mean = lambda a, b: None if a is None else (a + b) / 2
    gradients = tf.nest.map_structure(lambda a, b: a + b, ours, theirs)
    estimate = estimate._replace(signal=mean(estimate.signal, other.signal))
    alone.model.apply_gradients(alone.optimizers, gradients, estimate)
np.testing.assert_allclose(metrics[:, 0], elbo, rtol=1e-4)
for ours, expected in zip(mirrored.model.variables, alone.model.variables):
    np.testing.assert_allclose(ours.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)
print("same")
"""


@pytest.mark.slow
@pytest.mark.parametrize("presence", ["enumerate", "nvil"])
def test_two_replicas_train_like_one_device_with_their_mean_gradient(presence):
    done = subprocess.run([sys.executable, "-c", STRATEGIES, presence], capture_output=True, text=True)
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
