"""Folders of results: written whole, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def check_replaceable(out: Path, files: set[str], mark: str) -> None:
    """Refuses to replace what is no earlier result.

    Args:
        out: where a result is to be.
        files: all that a result may hold.
        mark: the file among them that every result holds.

    Raises:
        ValueError: `out` is a file, or a folder that is not empty and no result.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"Expected a folder to write. Received: {out}, which is a file.")
    there = {path.name for path in out.iterdir()} if out.exists() else set()
    if there - files or (there and mark not in there):
        raise ValueError(
            f"Expected a new folder, or an earlier result with {mark}. "
            f"Received: {out}, with {min(there - files or there)} in it."
        )


def replace_folder(out: Path, write_files: Callable[[Path], None]) -> None:
    """Lets `write_files` fill a temporary folder, then puts it where `out` was."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=out.parent))
    new, old = temporary / "new", temporary / "old"
    try:
        new.mkdir()
        write_files(new)
        if out.exists():
            os.rename(out, old)
        os.rename(new, out)
    finally:
        if old.exists() and not out.exists():
            os.rename(old, out)
        shutil.rmtree(temporary)
