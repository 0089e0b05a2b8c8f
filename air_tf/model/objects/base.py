"""What an object is: its latents with their priors, how they are inferred, and what they draw."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from air_tf.model.composition import Layer
from air_tf.model.latent import Latent
from air_tf.model.where import corners_of

tfd = tfp.distributions
Samples = dict[str, tf.Tensor]  # of each latent, by its name


def summed_out(q: tfd.OneHotCategorical, noise: tf.Tensor) -> tf.Tensor:
    """No choice among classes: their probabilities `(B, K)`, for estimators that sum over all of them.

    Args:
        q: of the class, one-hot.
        noise: standard normal, `(B, K)`.
    """
    return q.probs_parameter()


class Objects(keras.layers.Layer):
    """A kind of object. Its latents have their sizes in `sizes`, by their names, in order of inference.

    A latent is called z_NAME outside of here. One that is called "where" tells where the object is.
    """

    sizes: dict[str, int]
    compiled = True  # whether XLA can compile what it draws, and a SavedModel hold it
    choose = staticmethod(summed_out)  # the estimator's way to choose a class

    def priors(self) -> dict[str, tfd.Distribution]:
        """The prior p(z_i) of each latent, which is the same for every object."""
        raise NotImplementedError

    def infer(
        self, x: tf.Tensor, seen: tf.Tensor, place: tf.Tensor | None, noise: Samples
    ) -> dict[str, Latent]:
        """The latents of one object, one after the other.

        Args:
            x: images, `(B, H, W, C)`.
            seen: what the recurrence says of the object, `(B, D)`.
            place: (x, y) in image coordinates where attention has found it, `(B, 2)`, if there is any.
            noise: standard normal, `(B, size)` for each latent.
        """
        raise NotImplementedError

    def draw(self, samples: Samples) -> Layer:
        """What objects with these latents `(B, size)` look like, on images `(B, H, W, C)`."""
        raise NotImplementedError

    def draw_looks(self, samples: Samples) -> tuple[Layer, Layer | None]:
        """What `draw` draws, and what it is a mixture of.

        Returns:
            The mixture, and what the objects would look like in each of K classes, `(K, B, H, W, C)`, by
            the probabilities in the latent "class"; None where an object has no class.
        """
        return self.draw(samples), None

    def windows(self, samples: Samples) -> tf.Tensor:
        """Where objects with these latents `(..., size)` are, as fractions of the image.

        Returns:
            `(..., 4)`: (ymin, xmin, ymax, xmax), which may lie outside of [0, 1].
        """
        raise NotImplementedError

    def corners(self, samples: Samples) -> tf.Tensor:
        """The (y, x) of each window's corners, clockwise, `(..., 4, 2)`; turned if the window is."""
        return corners_of(self.windows(samples))

    def readings(self, samples: Samples) -> dict[str, tf.Tensor]:
        """What latents `(B, N, size)` mean in terms that need no model to be understood, by name.

        Returns:
            `(B, N, ...)` each; nothing where latents speak for themselves.
        """
        return {}

    def constrain(self, samples: Samples) -> Samples:
        """The latents `(..., size)` made such that they can be drawn."""
        return samples

    def drawable(self, samples: Samples) -> tf.Tensor:
        """Whether latents `(..., size)` can be drawn, `(...,)`."""
        return tf.ones(tf.shape(next(iter(samples.values())))[:-1], tf.bool)
