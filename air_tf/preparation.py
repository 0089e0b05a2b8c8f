"""From a picture of any size and colour to what the model sees: light objects on black, letterboxed.

The same for one's own images to train on, for files given to a model and for the served endpoint.
"""

import functools

import numpy as np
import tensorflow as tf

from air_tf.image_files import LARGEST
from air_tf.scene import Scene
from air_tf.validation import settings

PNG_SIGNATURE, JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
PNG_HEADER = 33  # bytes: the signature and the header, a checksum at its end
BYTES = 2**24, 2**16, 2**8, 1  # of a big-endian integer
CMYK = 4  # components of a JPEG
Shape = tuple[int, int, int]  # (height, width, channels), in pixels
AT_ONCE = 2  # pictures decoded at a time, of up to LARGEST pixels each


@settings
class Preparation:
    """What is done to the greys of a picture."""

    dark_objects: bool = False
    """Whether picture files have dark objects on a light ground, and so are inverted."""

    subtract_ground: bool = False
    """Whether the border's median colour is taken off picture files."""


def border_median(image: tf.Tensor) -> tf.Tensor:
    """The median of the pixels at the edges of `(H, W, C)`, of each channel: `(C,)`."""
    edges = image[0], image[-1], image[:, 0], image[:, -1]
    pixels = tf.sort(tf.concat(edges, axis=0), axis=0)
    return pixels[tf.shape(pixels)[0] // 2]


def prepare(image: tf.Tensor, image_shape: Shape, how: Preparation) -> tuple[tf.Tensor, tf.Tensor]:
    """Fits one picture into the model's images.

    It is shrunk or enlarged with its shape kept, then inverted where the model was trained on dark
    objects, and of images of one's own the ground is taken off: the median colour of its border,
    (x - ground) / (1 - least of ground), not below 0. Bars at the sides are black.

    Args:
        image: `(h, w, C)` uint8 of any size, C as the model's images.
        image_shape: `(H, W, C)`.
        how: `Preparation`.

    Returns:
        The image, `(H, W, C)` in [0, 1], and the picture's edges within it, (top, left, height, width)
        as fractions.
    """
    height, width, channels = image_shape
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    inner = tf.cast(tf.round(size * tf.reduce_min([height, width] / size)), tf.int32)
    inner = tf.maximum(1, inner)
    # resized as uint8: in floats a large picture would take four times the memory
    image = tf.clip_by_value(tf.image.resize(image, inner, antialias=True) / 255.0, 0.0, 1.0)
    if how.dark_objects:
        image = 1.0 - image
    if how.subtract_ground:
        ground = border_median(image)
        image = tf.nn.relu(image - ground) / tf.maximum(1.0 - tf.reduce_min(ground), 1 / 255)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    image = tf.image.pad_to_bounding_box(image, top, left, height, width)
    edges = tf.cast([top, left, inner[0], inner[1]], tf.float32) / [height, width, height, width]
    return tf.ensure_shape(image, (height, width, channels)), edges


@functools.cache
def _compiled(image_shape: Shape, how: Preparation):
    picture = tf.TensorSpec((None, None, image_shape[2]), tf.uint8)
    function = tf.function(lambda image: prepare(image, image_shape, how), input_signature=[picture])
    return function.get_concrete_function()  # TensorFlow warns of many functions traced from one line


def fit(picture: np.ndarray, image_shape: Shape, how: Preparation) -> tuple[np.ndarray, np.ndarray]:
    """`prepare` of an array, with the image as uint8."""
    image, edges = _compiled(image_shape, how)(tf.convert_to_tensor(picture))
    return np.round(image.numpy() * 255).astype(np.uint8), edges.numpy()


def encoded_shape(file: tf.Tensor) -> tf.Tensor:
    """(height, width, components) of a PNG or JPEG file, int64, without decoding it.

    The components are the file's for a JPEG, 0 for a PNG.
    """
    jpeg, png = (tf.strings.substr(file, 0, len(s)) == s for s in (JPEG_SIGNATURE, PNG_SIGNATURE))
    size = tf.strings.length(file)
    message = "Expected a PNG or JPEG picture. Received: a file of another kind or cut short, bytes:"
    valid = jpeg | (png & (size >= PNG_HEADER))

    def of_png():  # the signature of 8 bytes, the header's length and name, then width and height
        header = tf.cast(tf.io.decode_raw(tf.strings.substr(file, 16, 8), tf.uint8), tf.int64)
        width, height = tf.unstack(tf.reduce_sum(tf.reshape(header, (2, 4)) * BYTES, axis=-1))
        return tf.stack([height, width, 0])

    with tf.control_dependencies([tf.debugging.Assert(valid, [message, size])]):
        return tf.cond(jpeg, lambda: tf.cast(tf.image.extract_jpeg_shape(file), tf.int64), of_png)


def decode(file: tf.Tensor, channels: int) -> tf.Tensor:
    """The pixels of a PNG or JPEG file, `(h, w, channels)` uint8.

    Raises:
        tf.errors.InvalidArgumentError: as `prepare_encoded`.
    """
    shape = encoded_shape(file)
    pixels = tf.reduce_prod(tf.cast(shape[:2], tf.float64))  # what a file says may overflow an int64
    message = (
        f"Expected a PNG or JPEG picture of at least 1 and at most {LARGEST:,} pixels. "
        "Received height, width:"
    )
    valid = (pixels >= 1) & (pixels <= LARGEST)
    with tf.control_dependencies([tf.debugging.Assert(valid, [message, shape[:2]])]):
        file = tf.identity(file)

    def plain():
        return tf.io.decode_image(file, channels, tf.uint8, expand_animations=False)

    if channels == 3:
        return plain()

    def from_cmyk():  # which TensorFlow decodes to RGB, but not to grey
        return tf.image.rgb_to_grayscale(tf.io.decode_jpeg(file, 3))

    return tf.cond(shape[2] == CMYK, from_cmyk, plain)


def prepare_encoded(
    image_bytes: tf.Tensor, image_shape: Shape, how: Preparation
) -> tuple[tf.Tensor, tf.Tensor]:
    """`prepare` of PNG or JPEG files: `(B,)` strings to `(B, H, W, C)` and `(B, 4)`.

    TensorFlow's decoders know no orientation and drop what is transparent: `image_files.read_picture`
    and `image_files.as_png` make files that are upright and opaque.

    Raises:
        tf.errors.InvalidArgumentError: a file is neither, is broken, or has over `LARGEST` pixels.
    """
    signature = tf.TensorSpec(image_shape, tf.float32), tf.TensorSpec((4,), tf.float32)
    return tf.map_fn(
        lambda file: prepare(decode(file, image_shape[2]), image_shape, how),
        image_bytes,
        fn_output_signature=signature,
        parallel_iterations=AT_ONCE,
    )


def in_original(scene: Scene, edges: tf.Tensor) -> Scene:
    """The scene with boxes as fractions of the pictures that lie at `edges (B, 4)` in the images."""
    corner, extent = (tf.tile(part, [1, 2])[:, None] for part in tf.split(edges, 2, axis=-1))
    present = tf.sequence_mask(scene.counts, scene.boxes.shape[1], tf.float32)[..., None]

    def back(boxes):
        return tf.clip_by_value((boxes - corner) / extent, 0.0, 1.0) * present

    return scene._replace(boxes=back(scene.boxes), tight_boxes=back(scene.tight_boxes))
