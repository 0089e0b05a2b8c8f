"""From the unrolled steps to the ELBO and the importance weights, which all estimators share.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575, equations 2 and 3.
    [2] Burda et al. 2016, Importance Weighted Autoencoders. arXiv 1509.00519, equation 8.
"""

from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from air_tf.model.background import Behind
from air_tf.model.composition import Composition, Layer
from air_tf.model.count import at_least, count_posterior
from air_tf.model.inference import Step
from air_tf.model.likelihood import Likelihood
from air_tf.model.noise import Noise

tfd = tfp.distributions
Terms = dict[str, tf.Tensor]  # the ELBO and its parts by their names, (B,) each, nats


class Unrolled(NamedTuple):
    """A batch, what was inferred from it, and the parts of the model that this is measured by."""

    x: tf.Tensor  # (B, H, W, C), images
    steps: list[Step]  # N objects, as if all were present
    behind: Behind
    noise: Noise  # behind the samples
    p_count: tfd.Categorical  # p(n)
    rho_logit: tf.Tensor  # scalar: its parameter
    composition: Composition
    likelihood: Likelihood

    @property
    def pres_logits(self) -> tf.Tensor:
        """Of q(z_pres_i | x, z_<i): `(B, N)`."""
        return tf.stack([step.pres_logit for step in self.steps], axis=-1)

    @property
    def q_count(self) -> tfd.Categorical:
        """q(n | x)."""
        return count_posterior(self.pres_logits)

    @property
    def layers(self) -> list[Layer]:
        """What each object draws."""
        return [step.layer for step in self.steps]

    def samples(self) -> tf.Tensor:
        """The samples of all latents of each object, one after the other, `(B, N, D)`."""
        return tf.stack([tf.concat([*step.samples.values()], axis=-1) for step in self.steps], axis=1)

    def log_px(self) -> tf.Tensor:
        """log p(x | z, n) for n in 0..N, `(B, N + 1)`; with classes, its mean over q(class)."""
        if self.steps[0].looks is None:
            canvases = self.composition.canvases(self.behind.layer, self.layers)
            return tf.transpose(self.likelihood.log_prob(self.x, canvases))

        def mean(step, values):
            shares = tf.transpose(step.latents["class"].q.probs_parameter())
            return tf.reduce_sum(shares * values, axis=-2)

        return self._over_classes(mean)

    def log_px_summed(self) -> tf.Tensor:
        """log p(x | z, n) for n in 0..N with the objects' classes, if any, summed out: `(B, N + 1)`.

        Its value does not depend on q(class); its gradient fits q(class) to the responsibilities of the
        classes, as the gradient of a log of a sum is the mean under them.
        """
        if self.steps[0].looks is None:
            return self.log_px()

        def log_sum(step, values):
            log_p, log_q = (
                tf.math.log_softmax(of.logits_parameter())
                for of in (step.latents["class"].p, step.latents["class"].q)
            )
            shares = log_p + log_q - tf.stop_gradient(log_q)  # (B, K)
            return tf.reduce_logsumexp(tf.transpose(shares) + values, axis=-2)

        return self._over_classes(log_sum)

    def _over_classes(self, reduce) -> tf.Tensor:
        """log p(x | z, n) for n in 0..N, exactly, from all K^n images of n objects with a class each.

        Args:
            reduce: takes a step and values `(..., K, B)`, of its classes, to `(..., B)`.
        """
        result = []
        for n in range(len(self.steps) + 1):
            looks = [
                Layer(*(_along(part, i, n) for part in step.looks or ()))
                for i, step in enumerate(self.steps[:n])
            ]
            values = self.likelihood.log_prob(
                self.x, self.composition.compose(self.behind.layer, looks)
            )  # (K, ..., K, B)
            for step in reversed(self.steps[:n]):
                values = reduce(step, values)
            result.append(values)
        return tf.stack(result, axis=-1)

    def log_px_of(self, presence: tf.Tensor) -> tf.Tensor:
        """log p(x | z) of the objects that are there, by `presence (B, N)` in [0, 1]: `(B,)`."""
        canvas = self.composition.compose(self.behind.layer, self.layers, presence)
        return self.likelihood.log_prob(self.x, canvas)

    def kl_objects(self) -> dict[str, tf.Tensor]:
        """KL of each latent, if object i is there: `(B, N)`."""
        return {
            name: tf.stack([step.latents[name].kl() for step in self.steps], axis=-1)
            for name in self.steps[0].latents
        }

    def log_q_classes(self) -> tf.Tensor:
        """log q of the class that object i has, 0 for objects without classes: `(B, N)`."""
        if self.steps[0].looks is None:
            return tf.zeros_like(self.pres_logits)
        classes = [step.latents["class"] for step in self.steps]
        return tf.stack([latent.q.log_prob(latent.sample) for latent in classes], axis=-1)

    def kl_behind(self) -> dict[str, tf.Tensor]:
        """KL of each latent of the background: `(B,)`."""
        return {name: latent.kl() for name, latent in self.behind.latents.items()}

    def terms(self, log_px, kl_count, presence) -> Terms:
        """The ELBO and its parts.

        Args:
            log_px: expected log p(x | z, n), `(B,)`.
            kl_count: of the presences, `(B,)`.
            presence: how far each object's latents are paid for, `(B, N)`.
        """
        kl_objects = self.kl_objects().items()
        divergences = {name: tf.reduce_sum(presence * kl, axis=-1) for name, kl in kl_objects}
        return terms_of(log_px, kl_count, divergences | self.kl_behind())


def _along(values: tf.Tensor, axis: int, axes: int) -> tf.Tensor:
    """Values `(K, ...)` with their K along one of so many axes, the others of which are 1."""
    before, after = (tf.newaxis,) * axis, (tf.newaxis,) * (axes - 1 - axis)
    return values[(*before, slice(None), *after)]


def terms_of(log_px, kl_count, divergences: dict[str, tf.Tensor]) -> Terms:
    """The ELBO and its parts: `elbo`, `log_px`, `kl_count`, and `kl_NAME` of each latent."""
    named = {f"kl_{name}": kl for name, kl in divergences.items()}
    elbo = log_px - kl_count
    for kl in named.values():
        elbo -= kl
    return {"elbo": elbo, "log_px": log_px, "kl_count": kl_count, **named}


def term_names(latents) -> tuple[str, ...]:
    """The names of `terms_of`, for the names of the latents."""
    return ("elbo", "log_px", "kl_count", *(f"kl_{name}" for name in latents))


def prefix_sums(values: tf.Tensor) -> tf.Tensor:
    """The sums over i <= n for n in 0..N, of `(..., N)`: `(..., N + 1)`."""
    return tf.pad(tf.cumsum(values, axis=-1), [[0, 0]] * (values.shape.rank - 1) + [[1, 0]])


def enumerated_terms(unrolled: Unrolled, log_px: tf.Tensor) -> Terms:
    """The ELBO of [1] with the count summed out, used to compare the models of all estimators.

        ELBO = sum_n q(n) log p(x | canvas_n) - KL(q(n) || p(n))
               - sum_i q(n >= i) [KL(z_where_i) + KL(z_what_i)]

    Args:
        unrolled: `Unrolled`.
        log_px: `unrolled.log_px()`, `(B, N + 1)`.
    """
    q_count = unrolled.q_count
    return unrolled.terms(
        log_px=tf.reduce_sum(q_count.probs_parameter() * log_px, axis=-1),
        kl_count=tfd.kl_divergence(q_count, unrolled.p_count),
        presence=at_least(q_count),
    )


def log_prefix_weights(unrolled: Unrolled, log_px: tf.Tensor) -> tf.Tensor:
    """log [ p(n) p(x | z, n) product over i <= n of p(z_i) / q(z_i | x, z_<i) ] for n in 0..N.

    Args:
        unrolled: `Unrolled`.
        log_px: `unrolled.log_px_summed()`, `(B, N + 1)`.

    Returns:
        `(B, N + 1)`.
    """
    ratios = [sum(latent.log_ratio() for latent in step.latents.values()) for step in unrolled.steps]
    log_p_count = tf.math.log_softmax(unrolled.p_count.logits_parameter())
    weights = log_px + log_p_count + prefix_sums(tf.stack(ratios, axis=-1))
    for latent in unrolled.behind.latents.values():
        weights += latent.log_ratio()[:, None]
    return weights


def log_weights(unrolled: Unrolled) -> tuple[tf.Tensor, tf.Tensor]:
    """Logarithms of importance weights, `(B,)` each: with the count summed out, and sampled."""
    by_count = log_prefix_weights(unrolled, unrolled.log_px_summed())  # (B, N + 1)
    log_q_count = tf.math.log_softmax(unrolled.q_count.logits_parameter())
    present = tf.cast(unrolled.pres_logits + unrolled.noise.presence > 0, tf.int32)
    counts = tf.reduce_sum(tf.math.cumprod(present, axis=-1), axis=-1)
    sampled = tf.gather(by_count - log_q_count, counts, batch_dims=1)
    return tf.reduce_logsumexp(by_count, axis=-1), sampled
