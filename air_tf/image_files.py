"""Picture files: found by a glob, read with their orientation and transparency."""

import glob
import io
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from air_tf.appearance import appearance, find_objects
from air_tf.paths import expand, shown

SUFFIXES = (".png", ".jpg", ".jpeg")
LARGEST = 64_000_000  # pixels of a picture; a larger one is refused before it is decoded
LONGEST = 65_535  # pixels of a picture's longer side, the most that a JPEG can have

LIGHTEST = 240  # level of a ground that leaves room for lighter objects
MOSTLY = 0.8  # of what stands out has to have the other polarity for a picture to be turned
ORIENTATION = 0x0112  # in EXIF: from 5 on, height and width change places
LARGEST_SENT = 1024  # pixels: a model sees far less


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


def read_picture(source, channels: int = 3) -> np.ndarray:
    """A PNG or JPEG file as it is looked at: turned by its EXIF orientation, on white where transparent.

    Args:
        source: a path, or an open binary file.
        channels: 1 for grey, 3 for colour.

    Returns:
        `(h, w, channels)` uint8.

    Raises:
        ValueError: it cannot be read, is no PNG or JPEG, is cut short, has over LARGEST pixels or a side
            over LONGEST.
    """
    try:
        if isinstance(source, (str, os.PathLike)) and not os.path.isfile(source):
            raise ValueError("no such file, or not a regular one")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd files that can be read
            with Image.open(source, formats=("PNG", "JPEG")) as picture:
                width, height = picture.size
                if width * height > LARGEST or max(width, height) > LONGEST:
                    raise ValueError(
                        f"{width} x {height} pixels, over {LARGEST:,} or over {LONGEST:,} on a side"
                    )
                picture.load()
                return as_array(ImageOps.exif_transpose(picture), channels)
    except Exception as error:  # of many kinds, on broken files
        name = shown(getattr(source, "name", source))
        raise ValueError(f"Expected a PNG or JPEG picture. Received: {name}: {shown(error)}") from error


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a PNG or JPEG file as it is looked at, in pixels, without decoding it.

    Raises:
        ValueError: it cannot be read, or is no PNG or JPEG.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with Image.open(path, formats=("PNG", "JPEG")) as picture:
                width, height = picture.size
                on_its_side = picture.getexif().get(ORIENTATION, 1) >= 5
    except Exception as error:  # of many kinds, on broken files
        raise ValueError(
            f"Expected a PNG or JPEG picture. Received: {shown(path)}: {shown(error)}"
        ) from error
    return (width, height) if on_its_side else (height, width)


def shrunk(pixels: np.ndarray) -> np.ndarray:
    """`(h, w, 3)` uint8 with no side over LARGEST_SENT pixels, its shape kept."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((LARGEST_SENT, LARGEST_SENT))
    return np.asarray(picture)


def as_png(pixels: np.ndarray) -> bytes:
    """The file of `(h, w, 3)` uint8, for a model's `infer_encoded`."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=1)
    return file.getvalue()


def as_array(picture: Image.Image, channels: int) -> np.ndarray:
    """A Pillow picture of any mode as `(h, w, channels)` uint8."""
    if picture.mode.startswith("I"):  # 16 bits a pixel
        picture = Image.fromarray(np.uint8(np.asarray(picture, np.uint32) >> 8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def ground(pixels: np.ndarray) -> float:
    """The median of the border of `(h, w, 3)` uint8."""
    return float(np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])))


def turned_for(model) -> Callable[[np.ndarray], np.ndarray]:
    """How to turn the greys of pictures round where a model could not see their objects otherwise.

    A model with a background was trained on pictures as they are: none is turned. One that takes the
    ground off needs objects of the polarity that it was trained on, and what stands out from a picture's
    ground tells which it has; where nothing does, the ground must only leave room for them. Any other
    model needs a dark ground, or a light one if it was trained on dark objects.

    Args:
        model: has `prepare`, `infer` and `image_shape`.

    Returns:
        A function from `(h, w, 3)` uint8 to the same.
    """
    height, width, _ = model.image_shape
    if np.any(model.infer(np.zeros((1, *model.image_shape), np.float32)).backgrounds):
        return np.asarray

    def square(value: int, on: int) -> bytes:
        pixels = np.full((height, width, 3), on, np.uint8)
        pixels[height // 4 : height - height // 4, width // 4 : width - width // 4] = value
        return as_png(pixels)

    images = np.asarray(model.prepare([square(0, 255), square(0, 55), square(255, 200)]))
    squares, corners = images[:, height // 2, width // 2].mean(-1), images[:, 0, 0].mean(-1)
    dark_on_white, *on_grey = (corners < 0.1) & (squares > 0.5)
    takes_ground_off = any(on_grey)

    def turned(pixels: np.ndarray) -> np.ndarray:
        of_objects = 255 - pixels if dark_on_white else pixels  # in which objects are light
        found = find_objects([appearance(of_objects)]) if takes_ground_off else None
        if found is None:
            turn = ground(of_objects) > (LIGHTEST if takes_ground_off else 127)
        else:
            turn = found.dark > MOSTLY
        return 255 - pixels if turn else pixels

    return turned
