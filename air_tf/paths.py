"""Paths as users give them: expanded, or refused in one line; and as they can be printed."""

import os
from pathlib import Path


def expand(path: str | os.PathLike) -> Path:
    """The path with the home folder in place of its `~`.

    Raises:
        ValueError: it is empty, holds a NUL byte, or its `~` stands for no home folder.
    """
    text = os.fspath(path)
    if not text or "\0" in text:
        raise ValueError(f"Expected a path. Received: {text!r}.")
    try:
        return Path(text).expanduser()
    except RuntimeError:  # an unknown user, or one without a home folder
        raise ValueError(
            f"Expected a path. Received: {shown(path)}, whose home folder is unknown."
        ) from None


def shown(path: object) -> str:
    """A path, or an error's text, that any terminal can print in one line: other characters are escaped.

    A file name may hold line breaks, a terminal's control codes, or bytes that are not UTF-8.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def as_text(path: str | Path) -> str:
    r"""A path as text that can be written as UTF-8: other bytes in it become \xNN.

    >>> print(as_text(os.fsdecode(b"caf\xe9.png")))
    caf\xe9.png
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")
