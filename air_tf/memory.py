"""Whether what the settings ask for fits into memory, before any of it is allocated."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from air_tf.config import ModelConfig

FLOAT = 4  # bytes
COPIES = 4  # of each weight while training: itself, its gradient, and Adam's two moments
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


def check_model_fits(config: "ModelConfig", batch_size: int = 1, training: bool = False) -> None:
    """Raises ValueError if the model, or a step of it on a batch, cannot fit into memory."""
    weights, numbers = config.num_weights(), config.num_activations(batch_size)
    given = ", ".join(f"{name}={value!r}" for name, value in config.sizes().items())
    check_memory(
        FLOAT * (weights * (COPIES if training else 1) + numbers),
        f"a model of {given}, batch_size={batch_size}",
    )
