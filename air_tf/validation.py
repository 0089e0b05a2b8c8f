"""What is read from disk is checked against a schema, and what is wrong with it fits in one line."""

import functools
import reprlib
from pathlib import Path
from typing import Any, dataclass_transform

import pydantic
import pydantic.dataclasses

MOST_JSON_BYTES = 64 * 2**20  # of one file; parsed, it takes up to 40 times as much


@functools.cache
def _adapter(schema) -> pydantic.TypeAdapter:
    return pydantic.TypeAdapter(schema)


@dataclass_transform(frozen_default=True)
def settings(cls):
    """Makes a frozen dataclass whose fields have to fit their annotations, bounds included.

    Raises, when it is called:
        ValueError: a field does not fit, in one line; fields of other names come too.
    """
    strict = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    cls = pydantic.dataclasses.dataclass(frozen=True, config=strict)(cls)
    validated = cls.__init__

    @functools.wraps(validated)
    def __init__(self, *args, **fields):
        try:
            validated(self, *args, **fields)
        except pydantic.ValidationError as error:
            raise ValueError(_setting_error(error, fields)) from None

    cls.__init__ = __init__
    return cls


def _setting_error(error: pydantic.ValidationError, fields: dict) -> str:
    """What was expected of a setting, and what came."""
    detail = error.errors(include_url=False)[0]
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":  # by a rule over several fields
        return str(context["error"])
    name = detail["loc"][0]
    value = fields.get(name, detail["input"])
    wanted = {
        "greater_than": "above {gt}", "greater_than_equal": "at least {ge}", "less_than": "below {lt}",
        "less_than_equal": "at most {le}", "literal_error": "to be one of {expected}",
    }.get(detail["type"], "to fit: " + detail["msg"][0].lower() + detail["msg"][1:])  # fmt: skip
    return f"Expected {name} {wanted.format(**context)}. Received: {name}={reprlib.repr(value)}."


def first_error(error: pydantic.ValidationError) -> str:
    """The first thing that is wrong, in one line: where it is, what is wrong, and what came."""
    detail = error.errors(include_url=False)[0]
    place = ".".join(map(str, detail["loc"]))
    received = reprlib.repr(detail["input"])
    return f"{place}: {detail['msg']} (got {received})" if place else f"{detail['msg']} (got {received})"


def parse_json(text: bytes | str, schema, expected: str, source: str) -> Any:
    """Parses JSON that has to follow a schema.

    Args:
        text: JSON in UTF-8.
        schema: a type that pydantic knows, a dataclass or a `BaseModel` for example.
        expected: what the text should be, for the error.
        source: where it comes from, for the error.

    Raises:
        ValueError: the text is no JSON, or does not follow the schema.
    """
    try:
        return _adapter(schema).validate_json(text)
    except pydantic.ValidationError as error:
        raise ValueError(f"Expected {expected} in {source}. Received: {first_error(error)}") from None


def read_json(path: Path, schema, expected: str) -> Any:
    """Reads a JSON file that has to follow a schema.

    Args:
        path: of a file of at most MOST_JSON_BYTES.
        schema: a type that pydantic knows.
        expected: what the file should be, for the error.

    Raises:
        ValueError: the file is too large, no JSON, or does not follow the schema.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise ValueError(f"Expected {expected} in {path}. Received: no such file.")
    size = path.stat().st_size
    if size > MOST_JSON_BYTES:
        raise ValueError(
            f"Expected {expected} of at most {MOST_JSON_BYTES:,} bytes. Received: {path} with {size:,}."
        )
    return parse_json(path.read_bytes(), schema, expected, str(path))
