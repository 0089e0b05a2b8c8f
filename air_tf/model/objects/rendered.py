"""Solids on a table, drawn by a renderer that is given, not learned.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575, section 3.3.
"""

from typing import Annotated, Literal

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tyro

from air_tf.model.composition import Layer
from air_tf.model.latent import Latent, normal, reparameterised, standard_normal
from air_tf.model.networks import Networks, NormalParameters
from air_tf.model.objects.base import Objects
from air_tf.parts import kind
from air_tf.rendering import AnalyticSettings, RendererSettings
from air_tf.rendering.camera import corners
from air_tf.rendering.solids import SETS
from air_tf.validation import Scale, settings

tfd = tfp.distributions
MIDDLE = 0.3  # height above the table, in halves of its side, at which attention finds solids
FIRST_SCALE = 0.2  # of q's first positions, likewise: a prior's would miss most solids
TINY = 1e-6
POSE = 4  # numbers of a position and a turn


@settings
class RenderedSettings:
    """A solid on a table, drawn by a renderer, as in section 3.3 of Eslami et al. 2016."""

    objects: kind("rendered") = "rendered"

    known_solids: Annotated[Literal[*SETS], tyro.conf.Suppress] = "solids"
    """The solids that there are, which the data set decides."""

    renderer: RendererSettings = AnalyticSettings()

    position_scale: Scale = 0.5
    """Standard deviation of the prior of a solid's position, in halves of the table's side."""

    @property
    def num_classes(self) -> int:
        """How many solids there are to choose from."""
        return len(SETS[self.known_solids])

    def num_latents(self) -> int:
        """Numbers in all latents of an object."""
        return POSE + self.num_classes

    def num_weights(self, networks: Networks, image_shape, state: int) -> int:
        """About how many weights there are, for a recurrent state of so many numbers."""
        return networks.num_weights(0, 0, state)

    def num_activations(self, channels: int) -> int:
        """At least how many numbers are kept for an object, besides images."""
        return 0

    def check_available(self) -> None:
        """Raises ValueError if the renderer is not installed."""
        self.renderer.check_available()

    def make(self, networks: Networks, image_shape: tuple[int, int, int], alpha: bool) -> Objects:
        return Rendered(self, networks, image_shape)


class Rendered(Objects):
    """z_class says which solid it is, z_where where it stands, and z_turn how it is turned.

        q(z_class_i | x, z_<i) = Categorical
        q(z_where_i | x, z_<i) = Normal, around where attention finds something
        q(z_turn_i | x, z_<i)  = Normal in the plane
        angle_i = atan2(z_turn_i) / symmetry of the class

    The angle is that of a point in the plane, whose prior is the standard normal, so that all angles are
    equally probable: a projected normal. It does not tear where a full turn ends, as a normal over the
    angle itself would, and dividing by the symmetry means that a cube, which looks the same after a
    quarter of a turn, needs no choice among four right answers. A von Mises distribution would make the
    bound tighter by the divergence of the point's radius, which has no meaning in the scene. But it is
    sampled by rejection, so its samples are not a function of the model's standard normal noise, and XLA
    would compile a loop for each.

    There are no glimpses: the recurrence sees the image.

    Args:
        settings: `RenderedSettings`.
        networks: the heads.
        image_shape: `(height, width, 3)`, in pixels.
    """

    def __init__(self, settings: RenderedSettings, networks: Networks, image_shape, **kwargs):
        super().__init__(**kwargs)
        self.settings, self.image_shape = settings, image_shape
        self.renderer = settings.renderer.make(settings.known_solids, image_shape)
        self.solids, self.rays = self.renderer.solids, self.renderer.rays
        self.compiled = self.renderer.compiled
        self.sizes = {"class": len(self.solids), "where": 2, "turn": 2}
        self.class_head = networks.head(len(self.solids))
        self.where_head = NormalParameters(networks.head(4), [0.0] * 2, [FIRST_SCALE] * 2)
        self.turn_head = NormalParameters(networks.head(4), [0.0] * 2, [1.0] * 2)
        self.built = True

    def priors(self):
        scale = tf.fill([2], self.settings.position_scale)
        uniform = tfd.OneHotCategorical(logits=tf.zeros(len(self.solids)), dtype=tf.float32)
        return {
            "class": uniform,
            "where": normal(tf.zeros_like(scale), scale),
            "turn": standard_normal(2),
        }

    def infer(self, x, seen, place, noise):
        priors = self.priors()
        q_class = tfd.OneHotCategorical(logits=self.class_head(seen), dtype=tf.float32)
        loc, stddev = self.where_head(seen)
        if place is not None:
            pixels = place * (np.float32(self.image_shape[1::-1]) - 1) / 2
            loc += self.rays.at_height(pixels, MIDDLE)
        q_where, q_turn = normal(loc, stddev), normal(*self.turn_head(seen))
        return {
            "class": Latent(q_class, priors["class"], self.choose(q_class, noise["class"])),
            "where": Latent(q_where, priors["where"], reparameterised(q_where, noise["where"])),
            "turn": Latent(q_turn, priors["turn"], reparameterised(q_turn, noise["turn"])),
        }

    def angles(self, turn: tf.Tensor) -> tf.Tensor:
        """The angle `(..., K)` that a `turn (..., 2)` means for each class, in radians."""
        angle = tf.atan2(turn[..., 1], turn[..., 0])[..., None]
        return angle * np.float32([1 / solid.symmetry if solid.symmetry else 0 for solid in self.solids])

    def draw_looks(self, samples):
        angles = self.angles(samples["turn"])
        looks = [
            self.renderer.draw(k, tf.concat([samples["where"], angles[:, k : k + 1]], axis=-1))
            for k in range(len(self.solids))
        ]
        looks = Layer(*(tf.stack(parts) for parts in zip(*looks)))  # (K, B, H, W, C)
        share = tf.transpose(samples["class"])[..., None, None, None]
        opaque = share * looks.alpha
        alpha = tf.reduce_sum(opaque, axis=0)
        depth = tf.reduce_sum(opaque * looks.depth, axis=0) / tf.maximum(alpha, TINY)
        return Layer(tf.reduce_sum(share * looks.colour, axis=0), alpha, depth), looks

    def draw(self, samples):
        return self.draw_looks(samples)[0]

    def readings(self, samples):
        """The most probable class, the position (halves of the table's side) and the angle (radians)."""
        classes = tf.argmax(samples["class"], axis=-1, output_type=tf.int32)
        angles = tf.gather(self.angles(samples["turn"]), classes, batch_dims=2)
        return {"classes": classes, "positions": samples["where"], "angles": angles}

    def windows(self, samples):
        """The box around an upright block that holds the solid however it is turned."""
        height, width, _ = self.image_shape
        extents = tf.linalg.matmul(samples["class"], np.float32([s.extent for s in self.solids]))
        points = corners(samples["where"], extents[..., 0], extents[..., 1])  # (..., 8, 3)
        x, y = tf.unstack(self.rays.seen(points), axis=-1)
        x, y = (x + width / 2) / width, (y + height / 2) / height
        edges = tf.reduce_min, tf.reduce_max
        return tf.stack([edge(values, axis=-1) for edge in edges for values in (y, x)], axis=-1)
