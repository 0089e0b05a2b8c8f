"""What objects lie on: flat, gradient, noise, a grid of lines, or patches of photographs."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from air_tf.data.grid import grid_lines
from air_tf.data.pictures import is_held_out
from air_tf.image_files import read_picture
from air_tf.memory import check_memory
from air_tf.paths import shown
from air_tf.preparation import Shape

HELD_OUT_SHARE = 0.2  # of the only photograph
Range = tuple[float, float]  # darkest and lightest, from 0 to 1
Ground = Callable[[int, np.random.Generator], np.ndarray]  # number of images to (S, H, W, C) uint8


def flat(shape: Shape, levels: Range, num_images: int, random: np.random.Generator) -> np.ndarray:
    """One colour an image, its channels drawn from the range."""
    colours = random.uniform(*levels, (num_images, 1, 1, shape[2]))
    return np.broadcast_to(_pixels(colours), (num_images, *shape)).copy()


def gradient(shape: Shape, levels: Range, num_images: int, random: np.random.Generator) -> np.ndarray:
    """From one colour of the range to another, straight across in any direction."""
    height, width, channels = shape
    angle = random.uniform(0, 2 * np.pi, (num_images, 1, 1))
    y, x = (np.linspace(-1, 1, size) for size in (height, width))
    along = np.sin(angle) * y[:, None] + np.cos(angle) * x
    along = (along / (abs(np.sin(angle)) + abs(np.cos(angle))) + 1) / 2  # 0 to 1, corner to corner
    first, last = random.uniform(*levels, (2, num_images, 1, 1, channels))
    return _pixels(first + (last - first) * along[..., None])


def noise(shape: Shape, levels: Range, num_images: int, random: np.random.Generator) -> np.ndarray:
    """Every pixel by itself, uniform in the range."""
    low, high = levels
    return _pixels(low + (high - low) * random.random((num_images, *shape), np.float32))


def grid(shape: Shape, levels: Range, num_images: int, random: np.random.Generator) -> np.ndarray:
    """Every fifth row and column of the lighter end of the range, the rest of the darker."""
    on_line = grid_lines(num_images, *shape[:2], random)
    dark, light = _pixels(np.array(levels))
    return np.where(on_line, light, dark).repeat(shape[2], axis=-1)


def patches(
    photographs: list[np.ndarray],
    shape: Shape,
    levels: Range,
    num_images: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Random patches of random photographs `(h, w, C)` uint8, brought into the range."""
    height, width, _ = shape
    result = np.empty((num_images, *shape), np.uint8)
    for patch, index in zip(result, random.integers(len(photographs), size=num_images)):
        photograph = photographs[index]
        rows, columns, _ = photograph.shape
        top, left = random.integers(0, (rows - height + 1, columns - width + 1))
        patch[:] = photograph[top : top + height, left : left + width]
    low, high = levels
    return _pixels(low + (high - low) * np.arange(256) / 255)[result]


def _pixels(values: np.ndarray) -> np.ndarray:
    """From [0, 1] to uint8."""
    return np.round(255 * values).astype(np.uint8)


GROUNDS = {"flat": flat, "gradient": gradient, "noise": noise, "grid": grid}


def grounds(kind: str, shape: Shape, levels: Range, paths: list[Path]) -> dict[str, Ground]:
    """The grounds of `train` and `test`.

    Args:
        kind: one of GROUNDS, or "photographs".
        shape: (H, W, C) of the images, in pixels.
        levels: darkest and lightest.
        paths: of the photographs.

    Raises:
        ValueError: a photograph is smaller than an image, or cannot be read.
    """
    if kind != "photographs":
        return dict.fromkeys(("train", "test"), functools.partial(GROUNDS[kind], shape, levels))
    photographs = read_photographs(paths, shape)
    return {
        name: functools.partial(patches, pictures, shape, levels)
        for name, pictures in photographs.items()
    }


def read_photographs(paths: list[Path], shape: Shape) -> dict[str, list[np.ndarray]]:
    """The photographs of `train` and `test`; of a single one, the first part and the last fifth.

    Raises:
        ValueError: one is smaller than an image of this shape, cannot be read, or all are larger than
            memory.
    """
    height, width, channels = shape
    pictures = []
    for path in paths:
        picture = read_picture(path, channels)
        if picture.shape[0] < height or picture.shape[1] < width:
            raise _too_small(path, picture, f"{width} x {height}")
        pictures.append(picture)
        check_memory(sum(each.nbytes for each in pictures), "the photographs")
    if len(pictures) > 1:
        held_out = is_held_out(paths)
        return {
            name: [picture for picture, test in zip(pictures, held_out) if test == is_test]
            for name, is_test in (("train", False), ("test", True))
        }
    (picture,) = pictures
    axis = int(picture.shape[1] > picture.shape[0])
    last = max(round(HELD_OUT_SHARE * picture.shape[axis]), shape[axis])
    if picture.shape[axis] < last + shape[axis]:
        twice = f"{width} x {height} twice, since it is the only one and a part of it is held out"
        raise _too_small(paths[0], picture, twice)
    train, test = np.split(picture, [picture.shape[axis] - last], axis=axis)
    return {"train": [train], "test": [test]}


def _too_small(path: Path, picture: np.ndarray, wanted: str) -> ValueError:
    return ValueError(
        f"Expected photographs of at least {wanted} pixels. "
        f"Received: {shown(path)} of {picture.shape[1]} x {picture.shape[0]}."
    )
