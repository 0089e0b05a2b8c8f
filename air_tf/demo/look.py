"""What the page shows of a picture."""

import base64
import binascii
import io
import time
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from air_tf import drawing
from air_tf.data.digits import embedded_digits
from air_tf.data.multi_mnist import MultiDigitRecipe, compose
from air_tf.demo.table import Table
from air_tf.evaluation.evaluate import Predictor, canvases
from air_tf.evaluation.glimpses import SIDE, glimpses_and_recons
from air_tf.image_files import LARGEST_SENT, as_array, as_png, shrunk
from air_tf.polarity import turned_for

CANVAS = 400  # pixels, the side of the drawing
SHOWN_HEIGHT = 150  # pixels
TEST_IMAGES = 50  # of which the button shows one after the other
MOST_PIXELS = 25_000_000  # of a picture; a larger one is refused before it is decoded
EXPECTED = f"Expected a PNG or JPEG picture of at most {MOST_PIXELS:,} pixels."


class Shown(NamedTuple):
    """What the page shows of a picture."""

    probabilities: dict[str, float]  # of the counts
    boxes: Image.Image  # what the model sees, with tight boxes
    steps: Image.Image  # the windows, the background, and the reconstruction after each step
    glimpses: Image.Image  # each glimpse above what it was decoded as
    said: str  # the count and the time it took


class Demo:
    """Looks at pictures with a model.

    Args:
        model: `Predictor`.
    """

    def __init__(self, model: Predictor):
        self.model = model
        self.turned, self.table = turned_for(model), table_of(model)
        images = compose(embedded_digits(), MultiDigitRecipe(), TEST_IMAGES, [0])
        self.test_images = images[images.any(axis=(1, 2, 3))]
        self.next = 0
        self.look(np.full((CANVAS, CANVAS, 3), 255, np.uint8))  # the first call takes its time

    def prepared(self, pixels: np.ndarray) -> np.ndarray:
        """What the model sees of a picture `(h, w, 3)` uint8, as predict.py shows it: `(1, H, W, C)`."""
        return np.asarray(self.model.prepare([as_png(self.turned(pixels))]))

    def look(self, pixels: np.ndarray) -> Shown:
        """Looks at a picture `(h, w, 3)` uint8.

        Raises:
            ValueError: a served model does not answer.
        """
        started = time.perf_counter()
        images = self.prepared(pixels)
        scene = self.model.infer(images).numpy()
        count, drawn = int(scene.counts[0]), canvases(self.model, scene)[0]
        probabilities = {
            f"{n} object{'s' * (n != 1)}": float(p) for n, p in enumerate(scene.count_probs[0])
        }
        zoom = max(1, SHOWN_HEIGHT // images.shape[1])
        boxes = drawing.with_boxes(images[0], scene.tight_boxes[0, :count], 2 * zoom)
        layers = self.model.layers_of(scene)
        windows = drawing.with_boxes(images[0], layers.corners[0, :count], zoom)
        first = 0 if scene.backgrounds.any() else 1  # of the canvases that show something
        built = [drawing.with_boxes(canvas, [], zoom) for canvas in drawn[first : count + 1]]
        steps = drawing.side_by_side([windows, *built], len(drawn) + 1)
        seen, decoded = glimpses_and_recons(images, layers)
        glimpses = drawing.glimpse_pairs(list(zip(seen[0, :count], decoded[0, :count])), SIDE * 3)
        milliseconds = 1000 * (time.perf_counter() - started)
        return Shown(probabilities, boxes, steps, glimpses, f"{count} found in {milliseconds:.0f} ms")

    def look_at_sent(self, data_url: str) -> Shown:
        """Looks at a PNG or JPEG file that comes as a data URL.

        Raises:
            ValueError: it is none, or too large, or a served model does not answer.
        """
        try:
            file = base64.b64decode(data_url.partition(",")[2], validate=True)
        except binascii.Error:
            raise ValueError(f"{EXPECTED} Received: a damaged data URL.") from None
        return self.look(read_sent(file))

    def look_at_next_test_image(self) -> Shown:
        """Looks at the next of the test images."""
        number, self.next = self.next, self.next + 1
        if self.table is not None:
            return self.look(self.table.example(number))
        return self.look(np.repeat(self.test_images[number % len(self.test_images)], 3, axis=-1))


def table_of(model: Predictor) -> Table | None:
    """Where one places solids, for a run whose model infers them."""
    objects = getattr(getattr(model, "config", None), "objects", None)
    return Table(model) if hasattr(objects, "known_solids") else None


def read_sent(file: bytes) -> np.ndarray:
    """A PNG or JPEG file, upright, on white where transparent, and shrunk while it is decoded.

    Returns:
        `(h, w, 3)` uint8, no side over `LARGEST_SENT`.

    Raises:
        ValueError: it is neither, is damaged, or has over MOST_PIXELS pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MOST_PIXELS is less
            with Image.open(io.BytesIO(file), formats=("PNG", "JPEG")) as picture:
                size = picture.size
                if picture.width * picture.height <= MOST_PIXELS:
                    picture.draft(None, (2 * LARGEST_SENT, 2 * LARGEST_SENT))  # of JPEG
                    return shrunk(as_array(ImageOps.exif_transpose(picture), 3))
    except Image.DecompressionBombError:
        raise ValueError(f"{EXPECTED} Received: far more.") from None
    except Exception:  # of many kinds, on broken files; their texts speak of Python's objects
        raise ValueError(f"{EXPECTED} Received: a file that is none, or is damaged.") from None
    raise ValueError(f"{EXPECTED} Received: {size[0]:,} x {size[1]:,} pixels.")
