import pytest

from air_tf import AIR, memory, replaced
from air_tf.config import ModelConfig
from air_tf.presets import MULTI_MNIST, PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_into_two_gigabytes(monkeypatch, name):
    monkeypatch.setattr(memory, "memory_bytes", lambda: 2 * 10**9)
    config = PRESETS[name]
    memory.check_model_fits(config.model, config.training.batch_size, training=True)


def test_the_estimate_is_below_what_the_weights_have(monkeypatch, small_model):
    """It must not refuse a model that fits: it counts no more than there is."""
    received = []
    monkeypatch.setattr(memory, "check_memory", lambda needed, _: received.append(needed))
    for model in (small_model, AIR(MULTI_MNIST.model)):
        config = model.config
        height, width, channels = config.image_shape
        glimpse = config.objects.glimpse_size**2 * channels
        images = config.max_objects * (8 * height * width * channels + glimpse)
        memory.check_model_fits(config)
        weights = sum(variable.shape.num_elements() for variable in model.trainable_variables)
        assert 0.5 * weights < received[-1] / 4 - images <= weights


@pytest.mark.parametrize(
    "changes",
    [{"lstm_units": 65_536}, {"embedding_units": 65_536, "image_shape": (4096, 4096, 3)},
     {"hidden_units": 65_536, "glimpse_size": 4096},
     {"max_objects": 1000, "image_shape": (4096, 4096, 3)}],
)  # fmt: skip
def test_models_beyond_memory_are_refused_before_they_are_built(monkeypatch, changes):
    monkeypatch.setattr(memory, "memory_bytes", lambda: 24 * 2**30)
    config = replaced(ModelConfig(), **changes)
    (name, *_) = changes
    with pytest.raises(ValueError, match=f"Expected a model of .*{name}=.* to fit into the 24.0 GiB"):
        AIR(config)


def test_batches_beyond_memory_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "memory_bytes", lambda: 10**9)
    with pytest.raises(ValueError, match="batch_size=65536"):
        memory.check_model_fits(ModelConfig(), 65_536, training=True)


def test_the_memory_of_a_container_is_its_limit(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", limit)
    of_machine = memory.memory_bytes()
    assert of_machine > 10**8
    for text, expected in (("1000000", 1_000_000), ("max", of_machine), ("", of_machine)):
        limit.write_text(text)
        assert memory.memory_bytes() == expected
