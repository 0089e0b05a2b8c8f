"""Paths as users write them."""

import os
from pathlib import Path


def expand(path: str | os.PathLike) -> Path:
    """The path with `~` or `~name` at its start replaced by a home folder.

    Raises:
        ValueError: the path is empty or has a NUL character in it, or there is no such home folder.
    """
    text = os.fspath(path)
    if not text or "\0" in text:
        raise ValueError(f"Expected a path. Received: {text!r}.")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # no such user, or neither HOME nor a passwd entry
        raise ValueError(f"Expected a path. Received: {text!r}: {error}") from error
