"""Whether arrays fit into memory, which is looked at before they are made."""

import contextlib
import functools
import os
import sys
from pathlib import Path

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")  # bytes, or "max" without a limit


@functools.cache
def memory_bytes() -> int:
    """The memory of the machine, or of the container if that has less."""
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        return min(machine, int(CONTAINER_LIMIT.read_text()))
    return machine


def check_memory(num_bytes: int, what: str) -> None:
    """Raises ValueError if `what`, of so many bytes, cannot be held in memory."""
    if num_bytes > memory_bytes():
        raise ValueError(
            f"Expected {what} to fit into the {memory_bytes() / 2**30:.1f} GiB of memory. "
            f"Received: {num_bytes / 2**30:,.1f} GiB."
        )
