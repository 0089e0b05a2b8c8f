"""Generated splits on disk."""

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from air_tf.data.archives import Header, read_npz
from air_tf.data.split import Split
from air_tf.memory import check_memory
from air_tf.paths import shown

FIELDS = {  # of a split: S images of H x W x C pixels, M objects at most, P numbers that place one
    "images": ("SHWC", np.uint8),
    "counts": ("S", np.int32),
    "labels": ("SM", np.int32),
    "boxes": ("SM4", np.float32),
    "placements": ("SMP", np.int32),
}
BAR_AFTER = 2.0  # seconds of reading files until its progress is shown


def contents(paths: list[Path]) -> list[tuple[bytes, str]]:
    """The name of each file within the folder that holds them all, and a hash of what is in it."""
    if not paths:
        return []
    root = os.path.commonpath([path.parent for path in paths])
    bar = tqdm(paths, "Checking files", unit=" files", leave=False, delay=BAR_AFTER)
    return [(os.fsencode(os.path.relpath(path, root)), _digest(path)) for path in bar]


def _digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:  # whoever reads it says so
        return type(error).__name__


def fingerprint(*parts) -> str:
    """Tells one set of files from another, by their `contents` and whatever else matters."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def cached(
    path: Path, make: Callable[[], dict[str, Split]], names: Iterable[str], image_shape: tuple
) -> dict[str, Split]:
    """The splits in the file at `path`; made, and written there, when missing or damaged.

    Reading checks the archive's checksums. Writing goes through a temporary file, so the file
    is whole or not there. Where nothing can be written, a warning says so.

    Args:
        path: of the file.
        make: gives the splits.
        names: of the splits.
        image_shape: (height, width, channels) of their images.

    Raises:
        ValueError: the cache's folder is a file.
    """
    if os.path.exists(path.parent) and not os.path.isdir(path.parent):
        raise ValueError(
            f"Expected a folder for the cache. Received: {shown(path.parent)}, which is a file."
        )
    try:
        return _read(path, names, image_shape)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except Exception as error:  # NumPy, zipfile and zlib raise many kinds on a damaged file
        print(f"{shown(path)} is damaged ({shown(error)}): made anew.", file=sys.stderr)
    splits = make()
    try:
        _write(path, splits)
    except OSError as error:
        print(
            f"{shown(path)} cannot be written ({shown(error)}): the images are not kept.",
            file=sys.stderr,
        )
    return splits


def _read(path: Path, names: Iterable[str], image_shape: tuple) -> dict[str, Split]:
    arrays = read_npz(path, functools.partial(_choose, names, image_shape))
    return {name: Split(*(arrays[f"{name}/{field}"] for field in FIELDS)) for name in names}


def _choose(names: Iterable[str], image_shape: tuple, headers: dict[str, Header]) -> list[str]:
    """The names of the arrays of all splits.

    Raises:
        ValueError: one is missing, empty, of another shape or type, or all are larger than memory.
    """
    chosen = [f"{name}/{field}" for name in names for field in FIELDS]
    for name in names:
        sizes = dict(zip("HWC4", (*image_shape, 4)))
        for field, (letters, dtype) in FIELDS.items():
            header = headers.get(f"{name}/{field}")
            if header is None or header.dtype != dtype or len(header.shape) != len(letters):
                raise ValueError(f"{name}/{field}: {header}")
            if any(
                sizes.setdefault(letter, size) != size for letter, size in zip(letters, header.shape)
            ):
                raise ValueError(f"{name}/{field} of shape {header.shape}")
        if not sizes["S"]:
            raise ValueError(f"no images in {name}")
    check_memory(sum(headers[name].num_bytes for name in chosen), "a cached data set")
    return chosen


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
