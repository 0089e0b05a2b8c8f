"""From the unrolled steps to the ELBO and the importance weights, which all estimators share.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575, equations 2 and 3.
    [2] Burda et al. 2016, Importance Weighted Autoencoders. arXiv 1509.00519, equation 8.
"""

from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from air_tf.model.count import at_least, count_posterior
from air_tf.model.inference import Step
from air_tf.model.noise import StepNoise

tfd = tfp.distributions


class Terms(NamedTuple):
    """The evidence lower bound and its parts, per image, in nats: `(B,)` each."""

    elbo: tf.Tensor  # log_px - kl_count - kl_where - kl_what
    log_px: tf.Tensor  # expected log p(x | z, n)
    kl_count: tf.Tensor
    kl_where: tf.Tensor
    kl_what: tf.Tensor

    @classmethod
    def of(cls, log_px, kl_count, kl_where, kl_what) -> "Terms":
        return cls(log_px - kl_count - kl_where - kl_what, log_px, kl_count, kl_where, kl_what)


class Priors(NamedTuple):
    """The generative model's distributions over the latents."""

    count: tfd.Categorical  # p(n)
    rho_logit: tf.Tensor  # scalar: its parameter
    where: tfd.Distribution  # p(z_where_i), the same for every i
    what: tfd.Distribution  # p(z_what_i), the same for every i


class Estimate(NamedTuple):
    """What an estimator makes of a batch."""

    objective: tf.Tensor  # (B,): its gradient is the one to follow upwards
    terms: Terms
    signal: tf.Tensor | None = None  # what the estimator's running averages are to see


def canvases(placed: list[tf.Tensor]) -> tf.Tensor:
    """The images with the first 0, 1, ..., N objects: `(N + 1, B, H, W, C)`."""
    sums = [tf.zeros_like(placed[0])]
    for image in placed:
        sums.append(sums[-1] + image)
    return tf.stack(sums)


def canvas_of(counts: tf.Tensor, placed: list[tf.Tensor]) -> tf.Tensor:
    """The image with the first `counts (B,)` of the N objects: `(B, H, W, C)`."""
    by_image = tf.transpose(canvases(placed), [1, 0, 2, 3, 4])
    return tf.gather(by_image, counts, batch_dims=1)


def log_likelihood(x: tf.Tensor, canvas: tf.Tensor, pixel_scale: float) -> tf.Tensor:
    """log p(x | z, n) = log Normal(x; canvas, pixel_scale).

    Args:
        x: images, `(B, H, W, C)`.
        canvas: `(..., B, H, W, C)`.
        pixel_scale: standard deviation of a pixel.

    Returns:
        `(..., B)`, nats.
    """
    p_x = tfd.Independent(tfd.Normal(canvas, pixel_scale), reinterpreted_batch_ndims=3)
    return p_x.log_prob(x)


def log_likelihoods(x: tf.Tensor, steps: list[Step], pixel_scale: float) -> tf.Tensor:
    """log p(x | z, n) for n in 0..N: `(B, N + 1)`."""
    return tf.transpose(log_likelihood(x, canvases([step.placed for step in steps]), pixel_scale))


def pres_logits(steps: list[Step]) -> tf.Tensor:
    """Of q(z_pres_i | x, z_<i): `(B, N)`."""
    return tf.stack([step.pres_logit for step in steps], axis=-1)


def kl_divergences(steps: list[Step], priors: Priors) -> tuple[tf.Tensor, tf.Tensor]:
    """KL(z_where_i) and KL(z_what_i), if object i is there: `(B, N)` each.

    In closed form, but by the step's own sample for a mixture, whose KL has none.
    """
    kl_where = [tfd.kl_divergence(step.q_where, priors.where) for step in steps]
    if isinstance(priors.what, tfd.MixtureSameFamily):
        kl_what = [
            step.q_what.log_prob(step.z_what) - priors.what.log_prob(step.z_what) for step in steps
        ]
    else:
        kl_what = [tfd.kl_divergence(step.q_what, priors.what) for step in steps]
    return tf.stack(kl_where, axis=-1), tf.stack(kl_what, axis=-1)


def prefix_sums(values: tf.Tensor) -> tf.Tensor:
    """The sums over i <= n for n in 0..N, of `(..., N)`: `(..., N + 1)`."""
    return tf.pad(tf.cumsum(values, axis=-1), [[0, 0]] * (values.shape.rank - 1) + [[1, 0]])


def enumerated_terms(
    steps: list[Step], log_px: tf.Tensor, kl_where: tf.Tensor, kl_what: tf.Tensor, priors: Priors
) -> Terms:
    """The ELBO of [1] with the count summed out, by which models of all estimators are compared.

        ELBO = sum_n q(n) log p(x | canvas_n) - KL(q(n) || p(n))
               - sum_i q(n >= i) [KL(z_where_i) + KL(z_what_i)]

    Args:
        steps: the N unrolled steps.
        log_px: `log_likelihoods`, `(B, N + 1)`.
        kl_where: `(B, N)`.
        kl_what: `(B, N)`.
        priors: `Priors`.
    """
    q_count = count_posterior(pres_logits(steps))
    present = at_least(q_count)  # (B, N)
    return Terms.of(
        log_px=tf.reduce_sum(q_count.probs_parameter() * log_px, axis=-1),
        kl_count=tfd.kl_divergence(q_count, priors.count),
        kl_where=tf.reduce_sum(present * kl_where, axis=-1),
        kl_what=tf.reduce_sum(present * kl_what, axis=-1),
    )


def log_prefix_weights(steps: list[Step], log_px: tf.Tensor, priors: Priors) -> tf.Tensor:
    """log [ p(n) p(x | z, n) product over i <= n of p(z_i) / q(z_i | x, z_<i) ] for n in 0..N.

    Args:
        steps: the N unrolled steps.
        log_px: `log_likelihoods`, `(B, N + 1)`.
        priors: `Priors`.

    Returns:
        `(B, N + 1)`.
    """
    ratios = [
        priors.where.log_prob(step.z_where)
        - step.q_where.log_prob(step.z_where)
        + priors.what.log_prob(step.z_what)
        - step.q_what.log_prob(step.z_what)
        for step in steps
    ]
    log_p_count = tf.math.log_softmax(priors.count.logits_parameter())
    return log_px + log_p_count + prefix_sums(tf.stack(ratios, axis=-1))


def log_weights(
    steps: list[Step], noise: list[StepNoise], log_px: tf.Tensor, priors: Priors
) -> tuple[tf.Tensor, tf.Tensor]:
    """Logarithms of importance weights, `(B,)` each: with the count summed out, and sampled from q(n).

    Args:
        steps: the N unrolled steps.
        noise: whose `pres` decides the presences.
        log_px: `log_likelihoods`, `(B, N + 1)`.
        priors: `Priors`.
    """
    by_count = log_prefix_weights(steps, log_px, priors)  # (B, N + 1)
    log_q_count = tf.math.log_softmax(count_posterior(pres_logits(steps)).logits_parameter())
    present = [step.pres_logit + part.pres > 0 for step, part in zip(steps, noise)]
    counts = tf.reduce_sum(tf.math.cumprod(tf.cast(tf.stack(present, -1), tf.int32), axis=-1), -1)
    sampled = tf.gather(by_count - log_q_count, counts, batch_dims=1)
    return tf.reduce_logsumexp(by_count, axis=-1), sampled


def log_mean_exp(values: tf.Tensor, axis: int) -> tf.Tensor:
    """log of the mean of exp(values): the importance-weighted bound [2] of log weights."""
    return tf.reduce_logsumexp(values, axis=axis) - tf.math.log(
        tf.cast(tf.shape(values)[axis], values.dtype)
    )
