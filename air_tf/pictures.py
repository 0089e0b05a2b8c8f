"""Picture files: found by a glob, read with their orientation and transparency."""

import glob
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg")
LARGEST = 64_000_000  # pixels of a picture; a larger one is refused before it is decoded

LARGEST_SENT = 1024  # pixels: a model sees far less


def find_pictures(pattern: str) -> list[Path]:
    """The picture files that a glob or a folder names, sorted; or the file itself.

    Raises:
        ValueError: there are none.
    """
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    names = path.iterdir() if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
    found = sorted(name for name in names if name.suffix.lower() in SUFFIXES and name.is_file())
    if not found:
        raise ValueError(f"Expected PNG or JPEG files. Received: {pattern}, which names none.")
    return found


def read_picture(source, channels: int = 3) -> np.ndarray:
    """A PNG or JPEG file as it is looked at: turned by its EXIF orientation, on white where transparent.

    Args:
        source: a path, or an open binary file.
        channels: 1 for grey, 3 for colour.

    Returns:
        `(h, w, channels)` uint8.

    Raises:
        ValueError: it cannot be read, is no PNG or JPEG, is cut short, or has over LARGEST pixels.
    """
    try:
        with Image.open(source, formats=("PNG", "JPEG")) as picture:
            if picture.width * picture.height > LARGEST:
                raise ValueError(f"{picture.width} x {picture.height} pixels, over {LARGEST:,}")
            picture.load()
            return as_array(ImageOps.exif_transpose(picture), channels)
    except Exception as error:  # of many kinds, on broken files
        name = getattr(source, "name", source)
        raise ValueError(f"Expected a PNG or JPEG picture. Received: {name}: {error}") from error


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


def inverted(pixels: np.ndarray) -> np.ndarray:
    """`(h, w, 3)` uint8, with its greys turned round where its border is light."""
    return 255 - pixels if ground(pixels) > 127 else pixels


def takes_light_grounds(model) -> bool:
    """Whether a model was trained on pictures with a light ground, so turns their greys round itself."""
    white = np.full((*model.image_shape[:2], 3), 255, np.uint8)
    return bool(np.mean(model.prepare([as_png(white)])) < 0.5)


def turned_for(model) -> Callable[[np.ndarray], np.ndarray]:
    """How to turn the greys of pictures round where a model could not see their objects otherwise.

    A model was trained on light objects on a dark ground or on dark ones on a light ground. If it takes
    the ground off, it sees its objects on any ground that leaves room for them: light ones unless that
    is almost white, dark ones unless it is almost black.

    Args:
        model: has `prepare` and `image_shape`.

    Returns:
        A function from `(h, w, 3)` uint8 to the same.
    """
    height, width, _ = model.image_shape

    def square(value: int, on: int) -> bytes:
        pixels = np.full((height, width, 3), on, np.uint8)
        pixels[height // 4 : height - height // 4, width // 4 : width - width // 4] = value
        return as_png(pixels)

    images = np.asarray(model.prepare([square(0, 255), square(0, 55), square(255, 200)]))
    squares, corners = images[:, height // 2, width // 2].mean(-1), images[:, 0, 0].mean(-1)
    dark_on_white, *on_grey = (corners < 0.1) & (squares > 0.5)
    lightest = 240 if any(on_grey) else 127

    def turned(pixels: np.ndarray) -> np.ndarray:
        of_objects = 255 - pixels if dark_on_white else pixels  # in which objects are light
        return 255 - pixels if ground(of_objects) > lightest else pixels

    return turned
