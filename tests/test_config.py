import dataclasses

import pytest

from air_tf import Config, ModelConfig, TrainingConfig


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
    ],
)
def test_model_config_refuses(field, value):
    with pytest.raises(ValueError, match=f"Expected {field}.*Received: {field}="):
        ModelConfig(**{field: value})


@pytest.mark.parametrize("field", ["steps", "batch_size", "learning_rate", "steps_per_call"])
def test_training_config_refuses_what_is_not_positive(field):
    with pytest.raises(ValueError, match=f"{field}.*-1"):
        TrainingConfig(**{field: -1})


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().model.max_objects = 4
