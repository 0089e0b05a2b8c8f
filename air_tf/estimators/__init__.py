"""The estimators of the gradient: each makes an `Estimate` of the unrolled steps."""

from air_tf.estimators.bounds import (
    Estimate,
    Priors,
    Terms,
    canvas_of,
    canvases,
    enumerated_terms,
    kl_divergences,
    log_likelihoods,
    log_prefix_weights,
    log_weights,
    pres_logits,
)
from air_tf.estimators.concrete import Concrete
from air_tf.estimators.enumerate import Enumerate
from air_tf.estimators.nvil import NVIL

OBJECTIVES = {"enumerate": Enumerate, "nvil": NVIL, "concrete": Concrete}

__all__ = [
    "NVIL", "OBJECTIVES", "Concrete", "Enumerate", "Estimate", "Priors", "Terms", "canvas_of",
    "canvases", "enumerated_terms", "kl_divergences", "log_likelihoods", "log_prefix_weights",
    "log_weights", "pres_logits",
]  # fmt: skip
