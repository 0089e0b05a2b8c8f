"""The versions of a SavedModel in a folder, as TF Serving looks for them."""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

LARGEST_VERSION = 2**63 - 1  # TF Serving's versions are int64
TEMPORARY = ".writing-"


def versions(out: Path) -> list[int]:
    """The numbers of the versions in a folder, smallest first.

    Only folders count that are named as `publish` names them: 7, but neither 007 nor +7.
    """
    names = [path.name for path in out.iterdir() if path.is_dir()]
    numbers = [int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name)]
    return sorted(number for number in numbers if number <= LARGEST_VERSION)


def newest_version(folder: Path) -> Path:
    """The folder of the greatest version, or the folder itself where it is a SavedModel or has none."""
    if (folder / "saved_model.pb").exists() or not folder.is_dir():
        return folder
    found = versions(folder)
    return folder / str(found[-1]) if found else folder


@contextlib.contextmanager
def writing(out: Path, files: set[str]) -> Iterator[Path]:
    """Yields a temporary folder in `out`, which is removed at the end; one process at a time has one.

    Args:
        out: the folder of all versions.
        files: the names that a temporary folder may hold. Those with nothing else in them, left behind
            by a process that was killed, are removed.
    """
    held = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)  # released by the system when the process dies
        for left in out.glob(f"{TEMPORARY}*"):
            if left.is_dir() and {path.name for path in left.iterdir()} <= files:
                shutil.rmtree(left)
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=out))
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary)
    finally:
        os.close(held)


def publish(folder: Path, out: Path) -> Path:
    """Renames a finished folder to the next version in `out`, so that no server sees half of it.

    Returns:
        The version's folder, `out/VERSION`.

    Raises:
        ValueError: no number is left.
    """
    number = max(versions(out), default=0) + 1
    while os.path.lexists(out / str(number)):  # no folder, so no version
        number += 1
    if number > LARGEST_VERSION:
        raise ValueError(
            f"Expected a version below {LARGEST_VERSION}, the largest that TF Serving reads, in {out}. "
            f"Received: {number - 1}, after which none is left."
        )
    os.rename(folder, out / str(number))
    return out / str(number)
