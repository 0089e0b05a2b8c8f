"""The presence relaxed.

References:
    [1] Maddison et al. 2016, The Concrete Distribution. arXiv 1611.00712, appendix C.3.
    [2] Graves 2016, Adaptive Computation Time. arXiv 1603.08983, section 2.
    [3] Jang et al. 2017, Categorical Reparameterization with Gumbel-Softmax. arXiv 1611.01144.
"""

from typing import Annotated

import tensorflow as tf
import tensorflow_probability as tfp
from pydantic import Field

from air_tf.estimators.base import Estimate, Estimator
from air_tf.estimators.bounds import Unrolled
from air_tf.model.noise import gumbel
from air_tf.parts import kind
from air_tf.validation import Share, settings

tfd = tfp.distributions


@settings
class ConcreteSettings:
    """The presence is relaxed."""

    presence: kind("concrete") = "concrete"

    temperature: Annotated[float, Field(ge=1e-6, le=1000)] = 1.0
    """Temperature of the relaxed presences and classes."""

    stop_sum: Share = 0.99
    """An object is drawn while the sum of (1 - z_pres) up to it is below this."""

    def make(self) -> Estimator:
        return Concrete(self)


class Concrete(Estimator):
    """A relaxed presence in (0, 1) scales each reconstruction; the gradient is reparameterised.

    The random variable is the logistic before the sigmoid: its density keeps its digits where that of
    z_pres has poles, and its KL is estimated by the sample, since that of Bernoullis would not give a
    bound on the relaxed model [1]:

        pre_i ~ Logistic(pres_logit_i / T, 1 / T),    z_pres_i = sigmoid(pre_i)

    In the way of [2], object i is drawn while the sum of (1 - z_pres) up to and with it is below
    `stop_sum`, and its presence is paid for while the sum before it is.

    Classes, where objects have them, are relaxed alike, but pay the divergence of the classes
    themselves, as in [3]: once q is certain, a relaxed image differs little from that of one class.

    Args:
        settings: `ConcreteSettings`.
    """

    def __init__(self, settings: ConcreteSettings, **kwargs):
        super().__init__(**kwargs)
        self.settings = settings
        self.built = True

    def choose(self, q, noise):
        """A relaxed sample of q, in the way of [3]: all classes, in shares that sum to 1."""
        return tf.nn.softmax((q.logits_parameter() + gumbel(noise)) / self.settings.temperature)

    def estimate(self, unrolled: Unrolled, train_step) -> Estimate:
        """The bound on the relaxed model and its terms."""
        logits, temperature = unrolled.pres_logits, self.settings.temperature
        pre = (logits + unrolled.noise.presence) / temperature  # (B, N)
        presence, drawn, paid = self.relaxed(pre)

        q_pre = tfd.Logistic(logits / temperature, 1.0 / temperature)
        p_pre = tfd.Logistic(unrolled.rho_logit / temperature, 1.0 / temperature)
        terms = unrolled.terms(
            log_px=unrolled.log_px_of(presence),
            kl_count=tf.reduce_sum(paid * (q_pre.log_prob(pre) - p_pre.log_prob(pre)), axis=-1),
            presence=drawn,
        )
        return Estimate(terms["elbo"], terms)

    def relaxed(self, pre) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """How far objects are there, which are drawn, and which presences paid for: `(B, N)` each."""
        z_pres = tf.sigmoid(pre)
        stopped = tf.cumsum(tf.sigmoid(-pre), axis=-1)
        drawn = tf.cast(stopped < self.settings.stop_sum, tf.float32)
        paid = tf.concat([tf.ones_like(drawn[:, :1]), drawn[:, :-1]], axis=-1)
        return drawn * z_pres, drawn, paid
