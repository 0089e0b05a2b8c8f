"""A set of images with what is known about them, and the batches that training sees."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

COPIES = 3  # of all images that are held at once while a data set is read, split and trained on
UNKNOWN = -1  # the count of an image without labels
Composer = Callable[[int, list[int]], np.ndarray]  # (number of images, seed) to (S, H, W, C) uint8


@dataclasses.dataclass(frozen=True)
class Split:
    """Images with n objects each, n <= M; what is past an image's count is 0."""

    images: np.ndarray  # (S, H, W, C) uint8
    counts: np.ndarray  # (S,) int32, or UNKNOWN
    labels: np.ndarray  # (S, M) int32: the objects' classes
    boxes: np.ndarray  # (S, M, 4) float32: tight, (ymin, xmin, ymax, xmax) as fractions of the image
    placements: np.ndarray  # (S, M, P) int32: digit, side, top, left, say; draws the mask again

    @classmethod
    def of(cls, images: np.ndarray, counts: np.ndarray, boxes: np.ndarray) -> "Split":
        """Images whose objects have boxes, but no class and no mask."""
        shape = boxes.shape[:2]
        labels, placements = np.full(shape, -1, np.int32), np.zeros((*shape, 4), np.int32)
        return cls(images, counts, labels, boxes.astype(np.float32), placements)

    @classmethod
    def unlabelled(cls, images: np.ndarray) -> "Split":
        """Images of which nothing is known."""
        return cls.of(images, np.full(len(images), UNKNOWN, np.int32), np.zeros((len(images), 0, 4)))

    def __len__(self):
        return len(self.images)

    def labelled(self) -> np.ndarray:
        """Whether each image has a known count, `(S,)`."""
        return self.counts != UNKNOWN

    def boxed(self) -> np.ndarray:
        """Whether each image has a known count and a box for every object, `(S,)`."""
        return self.boxes.any(axis=-1).sum(axis=-1) == self.counts

    def examples(self, number: int) -> np.ndarray:
        """Which images to show, `(n,)`: the first ones, but those without objects last."""
        return np.argsort(self.counts == 0, kind="stable")[:number]

    def __getitem__(self, part) -> "Split":
        """The images that a slice or an array of indices picks."""
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return Split(*(values[part] for values in fields))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.images.shape[1:]

    def float_images(self) -> np.ndarray:
        """`(S, H, W, C)` float32 in [0, 1]."""
        return as_float(self.images)


def as_float(images):
    """uint8 pixels as float32 in [0, 1], for NumPy arrays and tensors alike."""
    cast = tf.cast if tf.is_tensor(images) else np.ndarray.astype
    return cast(images, np.float32) / np.float32(255)


def check_batch_size(batch_size: int, num_replicas: int) -> None:
    """Raises ValueError unless the batch can be cut in equal shares."""
    if batch_size % num_replicas:
        raise ValueError(
            f"Expected batch_size to be a multiple of the {num_replicas} replicas. "
            f"Received: batch_size={batch_size}."
        )


def batches(
    images: np.ndarray | Composer,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    replicas: range = range(1),
    num_replicas: int = 1,
) -> tf.data.Dataset:
    """Shuffled batches, a pure function of (seed, step): nothing to save, the same everywhere.

    Each pass over the images has its own order, and leaves out what fills no batch. A step's batch
    is cut in equal shares, one a replica.

    Args:
        images: `(S, H, W, C)` uint8, or what composes new ones for every step.
        batch_size: images a step, over all replicas.
        seed: of the order, or of the images.
        start: first step.
        stop: step after the last one.
        replicas: those of this worker; their shares come one after the other, step by step.
        num_replicas: of all workers.

    Returns:
        A dataset of `(batch_size / num_replicas, H, W, C)` float32 in [0, 1].

    Raises:
        ValueError: the batch cannot be cut in equal shares.
    """
    check_batch_size(batch_size, num_replicas)
    share = batch_size // num_replicas
    make = (
        _composed(images, seed, share)
        if callable(images)
        else _shuffled(images, seed, batch_size, share)
    )

    def batch(element):
        return as_float(make(element // len(replicas), replicas.start + element % len(replicas)))

    elements = tf.data.Dataset.range(start * len(replicas), stop * len(replicas))
    options = tf.data.Options()
    # nothing is to be tuned, and the tuning thread holds up the end of a process by up to a minute
    options.autotune.enabled = False
    return elements.map(batch).prefetch(2).with_options(options)


def _shuffled(images: np.ndarray, seed: int, batch_size: int, share: int):
    """Maps (step, replica) to the share's images, drawn without replacement in each pass."""
    steps_per_epoch = max(1, len(images) // batch_size)
    pixels, last = tf.constant(images), tf.constant(len(images) - 1, tf.int64)

    def make(step, replica):
        epoch, step = step // steps_per_epoch, step % steps_per_epoch
        position = step * batch_size + replica * share + tf.range(share, dtype=tf.int64)
        index = tf.random.experimental.index_shuffle(position % len(images), [seed, epoch], last)
        return tf.gather(pixels, index)

    return make


def _composed(compose: Composer, seed: int, share: int):
    """Maps (step, replica) to new images."""
    shape = compose(1, [seed]).shape[1:]

    def make(step, replica):
        def draw(step, replica):
            return compose(share, [seed, int(step), int(replica)])

        images = tf.numpy_function(draw, [step, replica], tf.uint8, stateful=False)
        return tf.ensure_shape(images, (share, *shape))

    return make
