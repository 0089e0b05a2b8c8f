"""Generated input: valid input with parts replaced, removed, repeated or cut off."""

import copy
import io
import json

import numpy as np
from hypothesis import strategies as st
from PIL import Image

LARGEST_TEXT = 30  # characters of a generated string
ODD_NUMBERS = [0, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, float("inf"), float("nan"), 5e-324]

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(ODD_NUMBERS),
    st.text(max_size=LARGEST_TEXT),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=LARGEST_TEXT), inner, max_size=3)
    ),
    max_leaves=6,
)
nested = st.sampled_from([b"[" * 5000, b'{"a":' * 5000, b"[" * 500 + b"]" * 500])


@st.composite
def altered_bytes(draw, originals: list[bytes], edits: int = 4) -> bytes:
    """One of the originals with a few parts replaced, removed, repeated or cut off."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, edits))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 16)))
        kind = draw(st.sampled_from(["replace", "remove", "repeat", "cut", "flip"]))
        if kind == "replace":
            data[start:end] = draw(st.binary(max_size=16))
        elif kind == "remove":
            del data[start:end]
        elif kind == "repeat":
            data[start:start] = data[start:end] * draw(st.integers(1, 50))
        elif kind == "cut":
            del data[start:]
        elif start < len(data):
            data[start] ^= draw(st.integers(1, 255))
    return bytes(data)


@st.composite
def altered_values(draw, original):
    """A JSON value in which a few parts are replaced, removed or added."""
    result = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        parent, key = None, None
        part = result
        while isinstance(part, (dict, list)) and part and draw(st.integers(0, 3)):
            parent, key = (
                part,
                draw(st.sampled_from(list(part) if isinstance(part, dict) else [*range(len(part))])),
            )
            part = parent[key]
        if parent is None:
            if not draw(st.integers(0, 9)):
                return draw(values)
        elif draw(st.booleans()):
            parent[key] = draw(values)
        elif isinstance(parent, dict) and draw(st.booleans()):
            parent[draw(st.text(max_size=LARGEST_TEXT))] = draw(values)
        else:
            del parent[key]
    return result


def altered_json(*originals) -> st.SearchStrategy[bytes]:
    """JSON texts like the originals: altered as values, or as bytes."""
    as_values = st.one_of(*map(altered_values, originals))
    texts = [json.dumps(original).encode() for original in originals]
    return st.one_of(
        as_values.map(lambda value: json.dumps(value).encode()), altered_bytes(texts), nested
    )


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def pictures() -> list[bytes]:
    """Small PNG and JPEG files of all kinds."""
    random = np.random.default_rng(0)
    grey, colour = (Image.fromarray(random.integers(0, 256, (9, 13, *c), np.uint8)) for c in ((), (3,)))
    deep = Image.fromarray(random.integers(0, 65_536, (9, 13), np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    files = []
    for picture, kind, options in [
        (grey, "png", {}), (colour, "png", {}), (colour.convert("RGBA"), "png", {}), (deep, "png", {}),
        (colour.quantize(), "png", {"transparency": 3}), (grey.convert("1"), "png", {}),
        (grey.convert("LA"), "png", {}), (grey, "jpeg", {}), (colour, "jpeg", {"progressive": True}),
        (colour.convert("CMYK"), "jpeg", {}), (colour, "jpeg", {"exif": exif, "subsampling": 2}),
        (colour, "png", {"save_all": True, "append_images": [colour.rotate(90)]}),
    ]:  # fmt: skip
        file = io.BytesIO()
        picture.save(file, kind, **options)
        files.append(file.getvalue())
    return files
