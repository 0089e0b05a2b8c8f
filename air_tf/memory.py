"""Whether what the settings ask for fits into memory, before any of it is allocated."""

import contextlib
import os
from pathlib import Path

from air_tf.config import Config, ModelConfig

FLOAT = 4  # bytes
COPIES = 4  # of each weight while training: itself, its gradient, and Adam's two moments
CANVASES = 8  # images that a step of inference keeps for each object, at the least
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")  # bytes, or "max"


def memory_bytes() -> int:
    """The memory of the machine, or of the container if that has less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no container, or "max"
        memory = min(memory, int(CONTAINER_LIMIT.read_text()))
    return memory


def check_memory(num_bytes: int, what: str) -> None:
    """Raises ValueError if `what`, of at least so many bytes, cannot be held in memory."""
    if num_bytes > memory_bytes():
        raise ValueError(
            f"Expected {what} to fit into the {memory_bytes() / 2**30:.1f} GiB of memory. "
            f"Received: {num_bytes / 2**30:,.1f} GiB."
        )


def check_model_fits(config: ModelConfig, batch_size: int = 1, training: bool = False) -> None:
    """Raises ValueError if the model, or a step of it on a batch, cannot fit into memory."""
    height, width, channels = config.image_shape
    glimpse = config.glimpse_size**2 * channels
    features = height * width * channels
    if config.embedding_filters:
        features = features // channels * config.embedding_filters[0]  # before its strides
    weights = (
        4 * config.lstm_units * (config.lstm_units + config.embedding_units + config.z_what_size)
        + config.hidden_units * (2 * glimpse + 3 * config.z_what_size + 2 * config.lstm_units)
        + config.what_components * 2 * config.z_what_size
    )
    if not config.embedding_filters:
        weights += features * config.embedding_units
    rows = batch_size * config.importance_samples
    images = rows * config.max_objects * (CANVASES * height * width * channels + glimpse)
    numbers = weights * (COPIES if training else 1) + images
    sizes = {
        "image_shape": config.image_shape, "max_objects": config.max_objects,
        "glimpse_size": config.glimpse_size, "embedding_units": config.embedding_units,
        "lstm_units": config.lstm_units, "hidden_units": config.hidden_units,
        "z_what_size": config.z_what_size, "batch_size": batch_size,
        "importance_samples": config.importance_samples,
    }  # fmt: skip
    given = ", ".join(f"{name}={value!r}" for name, value in sizes.items())
    check_memory(FLOAT * numbers, f"a model of {given}")


def check_training_fits(config: Config) -> None:
    """Raises ValueError if a training step cannot fit into memory."""
    check_model_fits(config.model, config.training.batch_size, training=True)
