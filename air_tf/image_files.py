"""Picture files: found by a glob, read with their orientation and transparency."""

import contextlib
import glob
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from air_tf.memory import check_memory
from air_tf.paths import expand, shown

SUFFIXES = (".png", ".jpg", ".jpeg")
LARGEST = 64_000_000  # pixels of a picture; a larger one is refused before it is decoded
LARGEST_IN_PARTS = 400_000_000  # pixels of a picture that tiles or crops are cut out of
LONGEST = 65_535  # pixels of a picture's longer side, the most that a JPEG can have

ORIENTATION, ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # in EXIF; of these, height and width change places
LARGEST_SENT = 1024  # pixels: a model sees far less
BAND = 4_000_000  # pixels that are converted at a time
BYTES_A_PIXEL = 10  # of memory: four in Pillow, three as an array, and what decoding needs


def find_pictures(pattern: str) -> list[Path]:
    """The picture files that a glob or a folder names, sorted; or the file itself.

    A file that several links lead to is listed once. Only regular files count: no pipes or folders.

    Raises:
        ValueError: there are none.
        OSError: the folder cannot be read.
    """
    path = expand(pattern)
    if path.is_file():
        return [path]
    names = path.iterdir() if path.is_dir() else map(Path, matches(path))
    found = [name for name in names if name.suffix.lower() in SUFFIXES and os.path.isfile(name)]
    if not found:
        raise ValueError(f"Expected PNG or JPEG files. Received: {shown(pattern)}, which names none.")
    found.sort(key=lambda name: (name.is_symlink(), name), reverse=True)  # the last one is kept
    return sorted({os.path.realpath(name): name for name in found}.values())


def matches(pattern: Path) -> Iterator[str]:
    """What `glob.glob` finds; for `**` each folder is visited once, even if links lead in circles."""
    if "**" not in pattern.parts:
        yield from glob.iglob(str(pattern))
        return
    place = pattern.parts.index("**")
    start, rest = Path(*pattern.parts[:place]), pattern.parts[place + 1 :] or ("*",)
    visited = set()
    for top in glob.iglob(str(start)):
        for folder, inner, _ in os.walk(top, followlinks=True):
            if (real := os.path.realpath(folder)) in visited:
                inner.clear()
                continue
            visited.add(real)
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            yield from matches(Path(glob.escape(folder), *rest))


def read_picture(source, channels: int = 3, largest: int = LARGEST) -> np.ndarray:
    """A PNG or JPEG file as it is looked at: turned by its EXIF orientation, on white where transparent.

    Args:
        source: a path, or an open binary file.
        channels: 1 for grey, 3 for colour.
        largest: pixels of the largest picture that is read. Above LARGEST, Pillow's own limit is lifted
            for the whole process meanwhile.

    Returns:
        `(h, w, channels)` uint8.

    Raises:
        ValueError: it cannot be read, is no PNG or JPEG, is cut short, has over `largest` pixels or a
            side over LONGEST, or does not fit into memory.
    """
    try:
        if isinstance(source, (str, os.PathLike)) and not os.path.isfile(source):
            raise ValueError("no such file, or not a regular one")
        with warnings.catch_warnings(), _pillow_takes(largest):
            warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd files that can be read
            with Image.open(source, formats=("PNG", "JPEG")) as picture:
                width, height = picture.size
                if width * height > largest or max(width, height) > LONGEST:
                    raise ValueError(
                        f"{width} x {height} pixels, over {largest:,} or over {LONGEST:,} on a side"
                    )
                check_memory(BYTES_A_PIXEL * width * height, f"{width} x {height} pixels")
                picture.load()
                ImageOps.exif_transpose(picture, in_place=True)
                return as_array(picture, channels)
    except Exception as error:  # of many kinds, on broken files
        name = shown(getattr(source, "name", source))
        raise ValueError(f"Expected a PNG or JPEG picture. Received: {name}: {shown(error)}") from error


@contextlib.contextmanager
def _pillow_takes(largest: int) -> Iterator[None]:
    """Lifts Pillow's limit for pictures over LARGEST, whose size is checked here instead."""
    limit = Image.MAX_IMAGE_PIXELS
    if largest > LARGEST:
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a PNG or JPEG file as it is looked at, in pixels.

    Only an orientation that a PNG has behind its pixels would need them decoded, and is not looked for.

    Raises:
        ValueError: it cannot be read, or is no PNG or JPEG.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with _pillow_takes(LARGEST_IN_PARTS), Image.open(path, formats=("PNG", "JPEG")) as picture:
                width, height = picture.size
                # PngImageFile.getexif would decode the pixels to see what follows them
                on_its_side = Image.Image.getexif(picture).get(ORIENTATION) in ON_ITS_SIDE
    except Exception as error:  # of many kinds, on broken files
        raise ValueError(
            f"Expected a PNG or JPEG picture. Received: {shown(path)}: {shown(error)}"
        ) from error
    return (width, height) if on_its_side else (height, width)


def shrunk(pixels: np.ndarray, longest: int = LARGEST_SENT) -> np.ndarray:
    """`(h, w, 3)` uint8 with no side over `longest` pixels, its shape kept."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((longest, longest))
    return np.asarray(picture)


def as_png(pixels: np.ndarray) -> bytes:
    """The file of `(h, w, 3)` uint8, for a model's `infer_encoded`."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=1)
    return file.getvalue()


def as_array(picture: Image.Image, channels: int) -> np.ndarray:
    """A Pillow picture of any mode as `(h, w, channels)` uint8.

    It is converted in bands, so that a large picture is held twice at most: by Pillow, and as the array.
    """
    width, height = picture.size
    pixels = np.empty((height, width, channels), np.uint8)
    rows = max(1, BAND // width)
    for top in range(0, height, rows):
        band = picture.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = _band_as_array(band, channels)
    return pixels


def _band_as_array(picture: Image.Image, channels: int) -> np.ndarray:
    if picture.mode.startswith("I"):  # 16 bits a pixel
        levels, clear = np.asarray(picture, np.uint32), picture.info.get("transparency")
        picture = Image.fromarray(np.where(levels == clear, 255, levels >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)
