"""Files of JSON, written whole."""

import json
import os
from pathlib import Path


def json_text(values, indent: int | None = None) -> str:
    """The values as JSON, which knows neither NaN nor infinity: they become null."""
    finite = json.loads(json.dumps(values), parse_constant=lambda name: None)
    return json.dumps(finite, indent=indent, allow_nan=False)


def write_json(values, path: Path) -> None:
    """Writes `json_text` through a temporary file, so that what stands at `path` is always whole."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json_text(values, indent=2) + "\n")
    os.replace(temporary, path)


def read_json(path: Path):
    """What `write_json` wrote."""
    return json.loads(path.read_text())
