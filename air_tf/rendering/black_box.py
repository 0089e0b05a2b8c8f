"""Renderers that TensorFlow cannot look into: they are called with arrays, and differences are taken.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575, section 3.3.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from air_tf.model.composition import Layer
from air_tf.rendering.renderer import Renderer

STEPS = 0.01, 0.01, 0.02  # of finite differences: in halves of the table's side, and radians


class BlackBox(Renderer):
    """A renderer that is called with NumPy arrays. Subclasses need only `render`.

    It cannot be compiled by XLA, nor be exported in a SavedModel.

    Args:
        solids: the set's name.
        image_shape: `(height, width, 3)`, in pixels.

    Raises:
        ValueError: what it renders is not what `render` should return.
    """

    compiled = False

    def __init__(self, solids: str, image_shape: tuple[int, int, int]):
        super().__init__(solids, image_shape)
        for which in range(len(self.solids)):  # what is wrong with it is said before anything is trained
            self._checked(which, np.zeros((2, 3), np.float32))

    def render(self, which: int, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images of a solid that is alone in the world, without a table.

        Args:
            which: index of the solid in its set, from 0.
            poses: `(B, 3)`, (x, y, angle): on the table, in units of half its side, and in radians.

        Returns:
            Colour times opacity `(B, H, W, 3)` in [0, 1], opacity `(B, H, W, 1)` in [0, 1], and depth
            `(B, H, W, 1)`, which may be any finite number where nothing is seen.
        """
        raise NotImplementedError

    def draw(self, which, poses):
        height, width, _ = self.image_shape

        def render(poses):
            parts = tf.numpy_function(
                lambda poses: self._checked(which, poses), [poses], [tf.float32] * 3, stateful=False
            )
            channels = 3, 1, 1
            shapes = [(*poses.shape[:1], height, width, c) for c in channels]
            return Layer(*(tf.ensure_shape(part, shape) for part, shape in zip(parts, shapes)))

        return with_finite_differences(render, poses)

    def _checked(self, which: int, poses: np.ndarray) -> list[np.ndarray]:
        height, width, _ = self.image_shape
        parts = [np.asarray(part, np.float32) for part in self.render(which, poses)]
        received = [part.shape for part in parts]
        expected = [(len(poses), height, width, channels) for channels in (3, 1, 1)]
        if received != expected:
            raise ValueError(
                f"Expected colour, opacity and depth of the shapes {expected} from the renderer. "
                f"Received: {received}."
            )
        for name, part in zip(("colours", "opacities"), parts):
            if not (part.min() >= 0 and part.max() <= 1):  # also of NaN
                raise ValueError(
                    f"Expected {name} in [0, 1] from the renderer. "
                    f"Received: from {part.min():g} to {part.max():g}."
                )
        if not np.isfinite(parts[2]).all():
            raise ValueError("Expected finite depths from the renderer. Received: others.")
        return parts


def with_finite_differences(render: Callable[[tf.Tensor], Layer], poses: tf.Tensor) -> Layer:
    """What a black box renders, with gradients by finite differences, as in [1]; here they are central.

    One object is rendered at a time, so that a gradient takes two renderings for each number of a pose,
    however many objects there are in an image.

    Args:
        render: takes poses `(B, 3)` to a `Layer`; nothing differentiates it.
        poses: `(B, 3)`.
    """

    @tf.custom_gradient
    def rendered(poses):
        layer = render(poses)

        def gradient(*upstream):
            columns = []
            for i, step in enumerate(STEPS):
                change = step * tf.one_hot(i, len(STEPS))
                pairs = zip(render(poses + change), render(poses - change))
                columns.append(sum(
                    tf.reduce_sum(of_part * (ahead - behind), axis=[1, 2, 3]) / (2 * step)
                    for of_part, (ahead, behind) in zip(upstream, pairs)
                ))  # fmt: skip
            return tf.stack(columns, axis=-1)

        return tuple(map(tf.stop_gradient, layer)), gradient

    return Layer(*rendered(poses))
