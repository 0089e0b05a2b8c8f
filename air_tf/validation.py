"""What is read from disk is checked against a schema, and what is wrong with it fits in one line."""

import functools
import reprlib
from pathlib import Path
from typing import Annotated, Any, dataclass_transform

import pydantic
import pydantic.dataclasses
from pydantic import AfterValidator, Field

MOST_JSON_BYTES = 64 * 2**20  # of one file; parsed, it takes up to 40 times as much


def _is_text(value: str) -> str:
    """Refuses names of files that are no UTF-8, which neither JSON nor TensorFlow can hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"Expected text in UTF-8. Received: {value!r}.") from None
    return value


# The bounds keep what a user may ask for within what float32 and a machine can hold; air_tf.memory
# compares the sizes that follow from them together with the memory that there is.
Text = Annotated[str, AfterValidator(_is_text)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
CountOrNone = Annotated[int, Field(ge=0, le=1_000_000_000)]
Images = Annotated[int, Field(ge=1, le=100_000_000)]
Objects = Annotated[int, Field(ge=1, le=1000)]
Units = Annotated[int, Field(ge=1, le=65_536)]
Side = Annotated[int, Field(ge=2, le=4096)]  # pixels
ModelSide = Annotated[int, Field(ge=8, le=4096)]  # pixels
Kernel = Annotated[int, Field(ge=1, le=256)]  # pixels
Probability = Annotated[float, Field(ge=1e-30, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=1e-12, le=10)]
Scale = Annotated[float, Field(ge=1e-3, le=1000)]
Shift = Annotated[float, Field(ge=-1000, le=1000)]


def require(condition: bool, expected: str, **received) -> None:
    """Raises ValueError, with what was expected and the values that came, unless the condition holds."""
    if not condition:
        values = ", ".join(f"{name}={value!r}" for name, value in received.items())
        raise ValueError(f"Expected {expected}. Received: {values}.")


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
