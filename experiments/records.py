"""The records of an experiment: one file, with one line of JSON for each run.

A record says which run it is (`name` and `flags`), what made it (`git_commit`, `versions` and, where it
is known, `data_fingerprint`), and what was measured, or why the run failed.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pydantic

from air_tf import validation
from air_tf.json_files import json_text, read_json


class Record(pydantic.BaseModel, extra="allow", strict=True):
    """What every record has; the rest is the experiment's own."""

    name: str
    flags: str


class Records:
    """The records in a file, in the order in which they were added; each has a name of its own.

    Args:
        path: the file, `results/NAME.jsonl`; the first record makes it.
    """

    def __init__(self, path: Path):
        self.path = path
        self.by_name = read(path)

    def __iter__(self) -> Iterator[dict]:
        return iter(self.by_name.values())

    def find(self, name: str, flags: str, fingerprint: str | None = None) -> dict | None:
        """The record with this name, or None if there is none.

        Args:
            name: the run's.
            flags: with which the record must have been made.
            fingerprint: of the data, if the flags do not say which they are.

        Raises:
            ValueError: the record was made with other flags or from other data.
        """
        record = self.by_name.get(name)
        if record is None:
            return None
        again = "remove its line to run it again."
        if record["flags"] != flags:
            raise ValueError(
                f"Expected {name} in {self.path} to have the flags '{flags}'. "
                f"Received: '{record['flags']}'; {again}"
            )
        if fingerprint not in (None, record.get("data_fingerprint")):
            raise ValueError(
                f"Expected {name} in {self.path} to come from the data given. Received: others; {again}"
            )
        return record

    def add(self, record: dict) -> dict:
        """Writes a record, in place of one with the same name, and returns it.

        A process that is killed meanwhile loses only this record.
        """
        self.by_name = read(self.path) | {record["name"]: record}
        write(self, self.path)
        return record


def read(path: Path) -> dict[str, dict]:
    """The records of a file by their names. Lines that are damaged are skipped with a warning."""
    records = {}
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], start=1):
        try:
            record = validation.parse_json(line, Record, "a record", f"line {number} of {path}")
            records[record.name] = record.model_dump()
        except ValueError as error:
            print(f"{error} This line is skipped.", file=sys.stderr)
    return records


def write(records: Iterable[dict], path: Path) -> None:
    """Writes a file of records through a temporary one, so that the file at `path` is always whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text("".join(json_text(record) + "\n" for record in records))
    os.replace(temporary, path)


def made_by(folder: Path) -> dict:
    """What made a run, from its config: git commit, versions, and the fingerprint of its data."""
    config = read_json(folder / "config.json")
    return {
        "git_commit": config["git_commit"],
        "versions": config["versions"],
        "data_fingerprint": config["digits_fingerprint"],
    }
