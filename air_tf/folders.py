"""Folders of results: written aside, put in place when they are whole; what a user put there is kept.

OUT/.air_tf/manifest.json               what lies in OUT by the program's hand, with sizes and hashes
OUT/.air_tf/lock                        held while a job writes
OUT/.air_tf/unfinished/result           what OUT is to hold
OUT/.air_tf/unfinished/progress.jsonl   kept when the job is stopped, if it can go on from there
"""

import contextlib
import dataclasses
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import filelock

from air_tf.json_files import write_json
from air_tf.paths import shown
from air_tf.validation import read_json

OWN, MANIFEST, UNFINISHED = ".air_tf", "manifest.json", "unfinished"
RESULT, PROGRESS = "result", "progress.jsonl"


class Record(NamedTuple):
    """A file as it was written."""

    size: int  # bytes
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a program wrote into a folder: records by the files' paths in it."""

    program: str
    files: dict[str, Record] = dataclasses.field(default_factory=dict)
    replaced: dict[str, Record] | None = None  # the result before, while `files` take its place

    def holds(self, name: str, path: Path) -> bool:
        """Whether the file or folder at `path` is as the program left it."""
        records = [files[name] for files in (self.files, self.replaced or {}) if name in files]
        if stat.S_ISDIR(os.lstat(path).st_mode):
            return any(file.startswith(f"{name}/") for file in [*self.files, *(self.replaced or {})])
        return bool(records) and _record(path) in records


@contextlib.contextmanager
def writing(out: Path, program: str) -> Iterator[Path]:
    """Holds a folder of results while a job writes a new one.

    Yields a folder, in which `result` is to be filled. At the end its files take the place of the
    earlier result in `out`. When the body raises, they are deleted, unless the body has made
    `progress.jsonl` beside `result`: then the next job finds both.

    Args:
        out: the folder; a symbolic link is followed.
        program: whose results `out` may hold.

    Raises:
        ValueError: `out` is a file, holds something that the program did not write or that was changed
            since, or is in use. Nothing is deleted; a new result that was whole is kept, and the message
            says where.
        OSError: it cannot be written.
    """
    out = Path(os.path.realpath(out))
    if out.exists() and not out.is_dir():
        raise ValueError(f"Expected a folder to write. Received: {shown(out)}, which is a file.")
    own, made = out / OWN, [folder for folder in (out, *out.parents) if not folder.exists()]
    unfinished = own / UNFINISHED
    if out.exists() and not (own / MANIFEST).is_file():
        _check(out, Manifest(program))
    try:
        own.mkdir(parents=True, exist_ok=True)
        with _lock(out):
            manifest = _read_manifest(out, program)
            try:
                _check(out, manifest)
                if manifest.replaced is not None:  # a job was killed while it did this
                    manifest = _put_in_place(out, manifest)
                write_json(dataclasses.asdict(manifest), own / MANIFEST)
                if not (unfinished / PROGRESS).exists():
                    _delete(unfinished)
                (unfinished / RESULT).mkdir(parents=True, exist_ok=True)
                try:
                    yield unfinished
                except BaseException:
                    if not (unfinished / PROGRESS).exists():
                        _delete(unfinished)
                    raise
                manifest = _replace(out, manifest)
            finally:
                if not manifest.files and not unfinished.exists():
                    _delete(own)
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


@contextlib.contextmanager
def _lock(out: Path):
    try:
        held = filelock.FileLock(out / OWN / "lock", blocking=False).acquire()
    except filelock.Timeout:
        raise ValueError(
            f"Expected a folder that no other job is writing. Received: {shown(out)}."
        ) from None
    with held:
        yield


def _read_manifest(out: Path, program: str) -> Manifest:
    path = out / OWN / MANIFEST
    if not path.exists():
        return Manifest(program)
    manifest = read_json(path, Manifest, "the list of a result's files")
    if manifest.program != program:
        raise ValueError(
            f"Expected a new folder, or a result of {program}. "
            f"Received: {shown(out)}, which {manifest.program} writes."
        )
    return manifest


def _check(out: Path, manifest: Manifest) -> None:
    """Raises ValueError unless all that lies in `out` is the program's and unchanged."""
    own = out / OWN
    empty = not os.path.lexists(own / UNFINISHED)  # a job was killed before it wrote the manifest
    ours = not own.is_symlink() and ((own / MANIFEST).is_file() or empty)
    for path in _below(out, skipped=own if ours else None):
        _check_one(path, out, manifest)


def _check_one(path: Path, out: Path, manifest: Manifest) -> None:
    name = path.relative_to(out)
    if not manifest.holds(name.as_posix(), path):
        raise ValueError(
            f"Expected a new folder, or a result of {manifest.program} that nobody has changed. "
            f"Received: {shown(out)}, with {shown(name)} in it, which was added or changed."
        )


def _replace(out: Path, manifest: Manifest) -> Manifest:
    """Puts the finished result in the place of the one that the manifest lists."""
    result = out / OWN / UNFINISHED / RESULT
    try:
        _check(out, manifest)
    except ValueError as error:
        raise ValueError(f"{error} The new result is whole, and kept in {shown(result)}.") from None
    files = {p.relative_to(result).as_posix(): r for p in _below(result) if (r := _record(p))}
    manifest = Manifest(manifest.program, files, replaced=manifest.files)
    write_json(dataclasses.asdict(manifest), out / OWN / MANIFEST)
    return _put_in_place(out, manifest)


def _put_in_place(out: Path, manifest: Manifest) -> Manifest:
    """Does what is left to do of this: whenever it is killed, it can be called again."""
    result = out / OWN / UNFINISHED / RESULT
    for new in list(_below(result)) if result.exists() else []:
        place = out / new.relative_to(result)
        if os.path.lexists(place):
            _check_one(place, out, manifest)
        if not new.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(new, place)
    # what is deleted is looked for: the manifest is only a file, which may name anything
    for path in reversed(list(_below(out, skipped=out / OWN))):
        if path.relative_to(out).as_posix() not in manifest.files:
            _check_one(path, out, manifest)
            if not path.is_dir():
                path.unlink()
            elif not any(path.iterdir()):
                path.rmdir()
    _delete(out / OWN / UNFINISHED)
    manifest = Manifest(manifest.program, manifest.files)
    write_json(dataclasses.asdict(manifest), out / OWN / MANIFEST)
    return manifest


def _below(folder: Path, skipped: Path | None = None) -> Iterator[Path]:
    """All files and folders below one, but not what `skipped` holds; symbolic links are not followed."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if path != skipped:
            yield path
            if entry.is_dir(follow_symlinks=False):
                yield from _below(path)


def _record(path: Path) -> Record | None:
    """A file's size and hash; None for what is no regular file."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return None
    with open(path, "rb") as file:
        return Record(path.lstat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _delete(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
