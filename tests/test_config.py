import dataclasses

import pytest

from air_tf import Config, DataConfig, ModelConfig, TrainingConfig


@pytest.mark.parametrize(
    "field, value",
    [
        ("max_objects", 0),
        ("glimpse_size", 51),
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
