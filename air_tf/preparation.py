"""From a picture of any size and colour to what the model sees: light objects on black, letterboxed.

The same for one's own images to train on, for files given to a model and for the served endpoint.
"""

import tensorflow as tf

from air_tf.config import ModelConfig
from air_tf.scene import Scene


def border_median(image: tf.Tensor) -> tf.Tensor:
    """The median of the pixels at the edges of `(H, W, C)`, of each channel: `(C,)`."""
    edges = image[0], image[-1], image[:, 0], image[:, -1]
    pixels = tf.sort(tf.concat(edges, axis=0), axis=0)
    return pixels[tf.shape(pixels)[0] // 2]


def prepare(image: tf.Tensor, config: ModelConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Fits one picture into the model's images.

    It is shrunk or enlarged with its shape kept, then inverted where the model was trained on dark
    objects, and of images of one's own the ground is taken off: the median colour of its border,
    (x - ground) / (1 - ground), not below 0. Bars at the sides are black.

    Args:
        image: `(h, w, C)` uint8 of any size, C as the model's images.
        config: `ModelConfig`.

    Returns:
        The image, `(H, W, C)` in [0, 1], and the picture's edges within it, (top, left, height, width)
        as fractions.
    """
    height, width, channels = config.image_shape
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    inner = tf.cast(tf.round(size * tf.reduce_min([height, width] / size)), tf.int32)
    inner = tf.maximum(1, inner)
    image = tf.image.resize(tf.image.convert_image_dtype(image, tf.float32), inner, antialias=True)
    image = tf.clip_by_value(image, 0.0, 1.0)
    if config.dark_objects:
        image = 1.0 - image
    if config.subtract_ground:
        ground = border_median(image)
        image = tf.nn.relu(image - ground) / tf.maximum(1.0 - ground, 1 / 255)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    image = tf.image.pad_to_bounding_box(image, top, left, height, width)
    edges = tf.cast([top, left, inner[0], inner[1]], tf.float32) / [height, width, height, width]
    return tf.ensure_shape(image, (height, width, channels)), edges


def prepare_encoded(image_bytes: tf.Tensor, config: ModelConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """`prepare` of PNG or JPEG files: `(B,)` strings to `(B, H, W, C)` and `(B, 4)`."""

    def one(file):
        image = tf.io.decode_image(file, config.image_shape[2], tf.uint8, expand_animations=False)
        return prepare(image, config)

    signature = tf.TensorSpec(config.image_shape, tf.float32), tf.TensorSpec((4,), tf.float32)
    return tf.map_fn(one, image_bytes, fn_output_signature=signature)


def in_original(scene: Scene, edges: tf.Tensor) -> Scene:
    """The scene with boxes as fractions of the pictures that lie at `edges (B, 4)` in the images."""
    corner, extent = (tf.tile(part, [1, 2])[:, None] for part in tf.split(edges, 2, axis=-1))
    present = tf.sequence_mask(scene.counts, scene.boxes.shape[1], tf.float32)[..., None]

    def back(boxes):
        return tf.clip_by_value((boxes - corner) / extent, 0.0, 1.0) * present

    return scene._replace(boxes=back(scene.boxes), tight_boxes=back(scene.tight_boxes))
