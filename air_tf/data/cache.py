"""Generated splits on disk."""

import dataclasses
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from air_tf.data.split import Split

FIELDS = tuple(field.name for field in dataclasses.fields(Split))


def fingerprint(paths: list[Path], *more) -> str:
    """Tells one set of files from another, by their names and sizes."""
    files = [(path.name, path.stat().st_size) for path in paths]
    return hashlib.sha256(repr((files, more)).encode()).hexdigest()[:16]


def cached(path: Path, make: Callable[[], dict[str, Split]]) -> dict[str, Split]:
    """The splits in the file at `path`; made, and written there, when missing or damaged.

    Reading checks the archive's checksums. Writing goes through a temporary file, so the file
    is whole or not there.

    Raises:
        ValueError: the cache's folder is a file.
    """
    if path.parent.exists() and not path.parent.is_dir():
        raise ValueError(f"Expected a folder for the cache. Received: {path.parent}, which is a file.")
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except Exception as error:  # NumPy, zipfile and zlib raise many kinds on a damaged file
        print(f"{path} is damaged ({error}): made anew.", file=sys.stderr)
    splits = make()
    _write(path, splits)
    return splits


def _read(path: Path) -> dict[str, Split]:
    with np.load(path) as file:
        names = sorted({key.split("/")[0] for key in file.files})
        return {name: Split(*(file[f"{name}/{field}"] for field in FIELDS)) for name in names}


def _write(path: Path, splits: dict[str, Split]) -> None:
    arrays = {
        f"{name}/{field}": getattr(split, field) for name, split in splits.items() for field in FIELDS
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
