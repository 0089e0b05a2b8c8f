"""Multi-MNIST under noise, as SuPAIR was tested on.

References:
    [1] Stelzner, Peharz and Kersting 2019, Faster Attend-Infer-Repeat with tractable probabilistic
        models. https://github.com/stelzner/supair
"""

import numpy as np
from tqdm import tqdm

from air_tf.data.cache import BAR_AFTER
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.parts import kind
from air_tf.validation import settings

CONTRAST, OFFSET, NOISE = 0.8, 0.1, 0.2  # of pixels in [0, 1]
AT_ONCE = 1000  # images in floats


@settings
class NoisySettings(MultiMNISTSettings):
    """The digits of multi_mnist, paler and under noise (SuPAIR's)."""

    dataset: kind("noisy") = "noisy"

    def finished(self, images: np.ndarray, seed: list[int]) -> np.ndarray:
        return noisy(images, np.random.default_rng(seed))


def noisy(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """0.8 x + 0.1 + Normal(0, 0.2), cut to [0, 1], for pixels x in [0, 1]; uint8 in and out."""
    result = np.empty_like(images)
    bar = {"desc": "Adding noise", "leave": False, "delay": BAR_AFTER}
    for start in tqdm(range(0, len(images), AT_ONCE), **bar):
        part = images[start : start + AT_ONCE]
        noise = NOISE * random.standard_normal(part.shape, np.float32)
        pixels = np.clip(CONTRAST * part.astype(np.float32) / 255 + OFFSET + noise, 0, 1)
        result[start : start + AT_ONCE] = np.round(255 * pixels)
    return result
