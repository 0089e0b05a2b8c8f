import dataclasses

import pytest

from air_tf import Config, DataConfig, ModelConfig, TrainingConfig


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
    ],
)
def test_model_config_refuses(field, value):
    with pytest.raises(ValueError, match=f"Expected {field}.*Received: {field}="):
        ModelConfig(**{field: value})


@pytest.mark.parametrize("field", ["steps", "batch_size", "learning_rate", "steps_per_call"])
def test_training_config_refuses_what_is_not_positive(field):
    with pytest.raises(ValueError, match=f"{field}.*-1"):
        TrainingConfig(**{field: -1})


def test_data_config_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="Expected dataset to be one of multi_mnist.*'cifar'"):
        DataConfig(dataset="cifar")


def test_whole_numbers_are_taken_for_fractions():
    assert ModelConfig(decoder_bias=-2, scale_prior=(3, 1)).decoder_bias == -2


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().model.max_objects = 4


@pytest.mark.parametrize("presence", ["nvil", "concrete"])
@pytest.mark.parametrize("changes", [{"importance_samples": 2}, {"count_bound": "marginal"}])
def test_bounds_of_enumerate_are_refused_with_other_estimators(presence, changes):
    with pytest.raises(ValueError, match=f"importance_samples=1 and.*presence='{presence}'"):
        ModelConfig(presence=presence, **changes)


@pytest.mark.parametrize("accuracy", [-0.1, 1.1])
def test_an_accuracy_to_stop_at_is_a_fraction(accuracy):
    with pytest.raises(ValueError, match="stop_at_accuracy from 0 to 1"):
        TrainingConfig(stop_at_accuracy=accuracy)
