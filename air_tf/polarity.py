"""Which pictures have to be turned into their negatives before a model sees their objects."""

from collections.abc import Callable

import numpy as np

from air_tf.appearance import appearance, find_objects
from air_tf.image_files import as_png

LIGHTEST = 240  # level of a ground that leaves room for lighter objects
MOSTLY = 0.8  # of what stands out has to have the other polarity for a picture to be turned


def ground(pixels: np.ndarray) -> float:
    """The median of the border of `(h, w, 3)` uint8."""
    return float(np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])))


def turned_for(model) -> Callable[[np.ndarray], np.ndarray]:
    """Turns the greys of pictures `(h, w, 3)` uint8 round that `hides_from` its objects otherwise."""
    hides = hides_from(model)
    return lambda pixels: np.invert(pixels) if hides(pixels) else pixels


def hides_from(model) -> Callable[[np.ndarray], bool]:
    """Which pictures hide their objects from a model unless their greys are turned round.

    A model with a background was trained on pictures as they are: none is turned. One that takes the
    ground off needs objects of the polarity that it was trained on, and what stands out from a picture's
    ground tells which it has; where nothing does, the ground must only leave room for them. Any other
    model needs a dark ground, or a light one if it was trained on dark objects.

    Args:
        model: has `prepare`, `infer` and `image_shape`.

    Returns:
        A function of a picture, `(h, w, 3)` uint8.
    """
    height, width, _ = model.image_shape
    if np.any(model.infer(np.zeros((1, *model.image_shape), np.float32)).backgrounds):
        return lambda pixels: False

    def square(value: int, on: int) -> bytes:
        pixels = np.full((height, width, 3), on, np.uint8)
        pixels[height // 4 : height - height // 4, width // 4 : width - width // 4] = value
        return as_png(pixels)

    images = np.asarray(model.prepare([square(0, 255), square(0, 55), square(255, 200)]))
    squares, corners = images[:, height // 2, width // 2].mean(-1), images[:, 0, 0].mean(-1)
    dark_on_white, *on_grey = (corners < 0.1) & (squares > 0.5)
    takes_ground_off = any(on_grey)

    def hides(pixels: np.ndarray) -> bool:
        found = find_objects([appearance(pixels)]) if takes_ground_off else None
        if found is not None:
            return (1 - found.dark if dark_on_white else found.dark) > MOSTLY
        below = ground(pixels)
        return (255 - below if dark_on_white else below) > (LIGHTEST if takes_ground_off else 127)

    return hides
