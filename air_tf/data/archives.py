"""Zip and npz files from anywhere: what they declare is looked at before anything is unpacked.

zipfile never unpacks more of a member than its declared size, so that bounds are set on that.
"""

import contextlib
import io
import math
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

MOST_DIRECTORY_BYTES = 16 * 2**20  # of a zip's list of members: about 200,000 of them
MOST_ARRAYS = 100  # members of an npz file
PLAIN = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED  # the others may take gigabytes to unpack anything


class _ZipFile(io.FileIO):
    """A zip on disk; zipfile reads its whole list of members with one call."""

    def read(self, size: int | None = -1, /):
        if size and size > MOST_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"{size:,} bytes of file names, over {MOST_DIRECTORY_BYTES:,}")
        return super().read(size)


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip file with a bounded list of members.

    Raises:
        ValueError: it is a pipe, or anything else but a regular file.
        zipfile.BadZipFile: it is no zip, or lists too many members.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("not a regular file")
    with _ZipFile(path) as file, zipfile.ZipFile(file) as archive:
        yield archive


def open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    """A member to read, at most `member.file_size` bytes.

    Raises:
        zipfile.BadZipFile: it is encrypted, or packed by other methods than zip's usual one.
    """
    if member.flag_bits & 1 or member.compress_type not in PLAIN:
        raise zipfile.BadZipFile("a file that is encrypted, or compressed by an unusual method")
    return archive.open(member)


class Header(NamedTuple):
    """What the header of an array in an npz file says."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_npz(path: Path, choose: Callable[[dict[str, Header]], Iterable[str]]) -> dict[str, np.ndarray]:
    """Arrays of an npz file. No pickle is ever loaded.

    Args:
        path: of the file.
        choose: the names of the arrays to read, given the headers of all. It bounds what is unpacked:
            it raises ValueError if an array is not as it should be.

    Raises:
        ValueError: as `choose`, or what is no npz file.
        OSError: it cannot be read.
        Exception: of whatever kind NumPy, zipfile and zlib raise on a damaged file.
    """
    with open_zip(path) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        if len(members) > MOST_ARRAYS:
            raise ValueError(f"{len(members):,} arrays, over {MOST_ARRAYS}")
        headers = {name: _header(archive, member) for name, member in members.items()}
        arrays = {}
        for name in choose(headers):
            with open_member(archive, members[name]) as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
        return arrays


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Header:
    with open_member(archive, member) as file:
        if np.lib.format.read_magic(file) != (1, 0):  # later versions have headers of up to 4 GB
            raise ValueError(f"{member.filename} is in another version of the npy format than 1.0")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        header = Header(shape, dtype)
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds pickled objects")
        if min(shape, default=0) < 0 or header.num_bytes != member.file_size - file.tell():
            raise ValueError(f"{member.filename} has another size than its shape {shape} of {dtype}")
    return header
