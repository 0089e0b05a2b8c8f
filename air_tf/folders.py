"""Folders of results: written whole, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def check_replaceable(out: Path, files: set[str]) -> None:
    """Raises ValueError if anything but a folder with some of these files is at `out`."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"Expected a folder to write. Received: {out}, which is a file.")
    others = {path.name for path in out.iterdir()} - files if out.exists() else set()
    if others:
        raise ValueError(
            f"Expected a new folder, or one with {', '.join(sorted(files))} alone. "
            f"Received: {out}, with {min(others)} in it."
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
