"""The presence relaxed.

References:
    [1] Maddison et al. 2016, The Concrete Distribution. arXiv 1611.00712, appendix C.3.
    [2] Graves 2016, Adaptive Computation Time. arXiv 1603.08983, section 2.
"""

import tensorflow as tf
import tensorflow_probability as tfp

from air_tf.config import ModelConfig
from air_tf.estimators.bounds import (
    Estimate,
    Priors,
    Terms,
    kl_divergences,
    log_likelihood,
    pres_logits,
)
from air_tf.model.inference import Step
from air_tf.model.noise import StepNoise

tfd = tfp.distributions


class Concrete:
    """A relaxed presence in (0, 1) scales each reconstruction; the gradient is reparameterised.

    The random variable is the logistic before the sigmoid: its density keeps its digits where that of
    z_pres has poles, and its KL is estimated by the sample, since that of Bernoullis would not give a
    bound on the relaxed model [1]:

        pre_i ~ Logistic(pres_logit_i / T, 1 / T),    z_pres_i = sigmoid(pre_i)

    In the way of [2], object i is drawn while the sum of (1 - z_pres) up to and with it is below
    `stop_sum`, and its presence is paid for while the sum before it is.

    Args:
        config: `ModelConfig`.
    """

    def __init__(self, config: ModelConfig):
        self.config = config

    def estimate(
        self, x, steps: list[Step], noise: list[StepNoise], priors: Priors, train_step
    ) -> Estimate:
        """The bound on the relaxed model and its terms.

        Args:
            x: images, `(B, H, W, C)`.
            steps: the N unrolled steps.
            noise: whose `pres` is the logistic noise behind the presences.
            priors: `Priors`.
            train_step: int scalar; not used.
        """
        logits, temperature = pres_logits(steps), self.config.temperature
        pres_noise = tf.stack([step_noise.pres for step_noise in noise], axis=-1)
        pre = (logits + pres_noise) / temperature  # (B, N)
        canvas, drawn, paid = self.relaxed_canvas(steps, pre)

        q_pre = tfd.Logistic(logits / temperature, 1.0 / temperature)
        p_pre = tfd.Logistic(priors.rho_logit / temperature, 1.0 / temperature)
        kl_where, kl_what = kl_divergences(steps, priors)
        terms = Terms.of(
            log_px=log_likelihood(x, canvas, self.config.pixel_scale),
            kl_count=tf.reduce_sum(paid * (q_pre.log_prob(pre) - p_pre.log_prob(pre)), axis=-1),
            kl_where=tf.reduce_sum(drawn * kl_where, axis=-1),
            kl_what=tf.reduce_sum(drawn * kl_what, axis=-1),
        )
        return Estimate(terms.elbo, terms)

    def relaxed_canvas(self, steps: list[Step], pre) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The canvas `(B, H, W, C)`; which objects are drawn, and which presences paid for, `(B, N)`."""
        z_pres = tf.sigmoid(pre)
        stopped = tf.cumsum(tf.sigmoid(-pre), axis=-1)
        drawn = tf.cast(stopped < self.config.stop_sum, tf.float32)
        paid = tf.concat([tf.ones_like(drawn[:, :1]), drawn[:, :-1]], axis=-1)
        placed = tf.stack([step.placed for step in steps], axis=1)  # (B, N, H, W, C)
        return tf.reduce_sum((drawn * z_pres)[..., None, None, None] * placed, axis=1), drawn, paid
