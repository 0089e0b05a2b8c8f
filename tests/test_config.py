import dataclasses
import json

import pytest

from air_tf import Config, ModelConfig, RunConfig, TrainingConfig, replaced
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.training.run_record import RunRecord
from air_tf.validation import parse_json


@pytest.mark.parametrize(
    "field, value",
    [
        ("max_objects", 0),
        ("glimpse_size", 1),
        ("image_shape", (50, 50, 2)),
        ("image_shape", (50, 50)),
        ("pixel_scale", 0.0),
        ("pixel_scale", float("nan")),
        ("rho", 1.0),
        ("scale_prior", (3.0, 0.0)),
        ("warm_start_steps", -1),
        ("max_objects", 2.5),
        ("max_objects", True),
        ("decoder_bias", float("nan")),
        ("scale_prior", (float("nan"), 0.2)),
        ("scale_prior", (3.0,)),
        ("presence", "sampled"),
        ("rho_start", 1.0),
        ("rho_steps", 0),
        ("rho_hold", -1),
        ("rho_schedule", "cosine"),
        ("importance_samples", 0),
        ("signal_decay", 1.0),
        ("temperature", 0.0),
        ("stop_sum", 1.0),
        ("what_components", 0),
        ("min_scale", 1e30),
        ("min_scale", 3.1),  # above the mean of the scale's prior
        ("rho", 1e-320),
        ("max_objects", 10**9),
        ("image_shape", (10**6, 10**6, 1)),
        ("pixel_scale", "0.3"),
    ],
)
def test_model_config_refuses(field, value):
    with pytest.raises(ValueError, match=f"Expected {field}.*Received: {field}="):
        replaced(ModelConfig(), **{field: value})


@pytest.mark.parametrize("field", ["steps", "batch_size", "learning_rate", "steps_per_call"])
def test_training_config_refuses_what_is_not_positive(field):
    with pytest.raises(ValueError, match=f"{field}.*-1"):
        TrainingConfig(**{field: -1})


def test_data_config_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="Expected dataset to be one of multi_mnist, .*'cifar'"):
        replaced(Config(), dataset="cifar")


def test_whole_numbers_are_taken_for_fractions():
    config = replaced(ModelConfig(), decoder_bias=-2, scale_prior=(3, 1))
    assert config.objects.decoder_bias == -2


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().model.max_objects = 4


@pytest.mark.parametrize("presence", ["nvil", "concrete"])
@pytest.mark.parametrize("changes", [{"importance_samples": 2}, {"count_bound": "marginal"}])
def test_bounds_of_enumerate_are_refused_with_other_estimators(presence, changes):
    message = f"Expected {next(iter(changes))} only with presence enumerate.*with presence {presence}"
    with pytest.raises(ValueError, match=message):
        replaced(ModelConfig(), presence=presence, **changes)


@pytest.mark.parametrize("accuracy", [-0.1, 1.1])
def test_an_accuracy_to_stop_at_is_a_fraction(accuracy):
    with pytest.raises(ValueError, match="Expected stop_at_accuracy at (least 0|most 1)"):
        TrainingConfig(stop_at_accuracy=accuracy)


@pytest.mark.parametrize(
    "field, value", [("batch_size", 10**9), ("learning_rate", 1e38), ("seed", 2**31)]
)
def test_training_config_refuses_what_no_machine_or_float_holds(field, value):
    with pytest.raises(ValueError, match=f"Expected {field} (at most|below) .*Received: {field}="):
        TrainingConfig(**{field: value})


@pytest.mark.parametrize(
    "name", ["../../x", "/x", "a/b", ".", "..", ".lock", "a\0b", "a" * 300, "\udcff"]
)
def test_a_runs_name_is_that_of_one_folder(name):
    with pytest.raises(ValueError, match="Expected (name|text)"):
        RunConfig(name=name)


def test_a_field_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="Expected depth to fit: unexpected.*Received: depth=3"):
        ModelConfig(depth=3)


def test_mnist_is_refused_where_it_would_be_ignored():
    with pytest.raises(ValueError, match="Expected mnist with digits of MNIST alone.*'embedded'"):
        MultiMNISTSettings(digits="embedded", mnist="mnist.npz")


def test_configs_come_back_from_json():
    config = replaced(Config(), scale_prior=(4.0, 0.1), seed=3, presence="nvil", dataset="omniglot")
    fields = {"digits_fingerprint": "", **dataclasses.asdict(config)}
    record = parse_json(json.dumps(fields), RunRecord, "a record", "a test")
    assert (record.data, record.model, record.training) == (config.data, config.model, config.training)


@pytest.mark.parametrize(
    "make", [lambda t: RunConfig(runs_dir=t), lambda t: MultiMNISTSettings(cache_dir=t)]
)
def test_paths_that_json_cannot_hold_are_refused(make):
    with pytest.raises(ValueError, match=r"Expected text in UTF-8. Received: 'a\\udcff'"):
        make("a\udcff")


def test_convolutions_are_described_whole():
    with pytest.raises(ValueError, match="as many embedding_filters as"):
        replaced(ModelConfig(), embedding_filters=(16,), embedding_kernels=(3,))
