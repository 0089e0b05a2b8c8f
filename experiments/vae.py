"""A plain variational autoencoder, which AIR's latents are compared with."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from air_tf.air import AIR
from air_tf.config import ModelConfig, TrainingConfig
from air_tf.data.split import Split, batches
from air_tf.model.latent import normal
from air_tf.model.networks import MLP, NormalParameters
from air_tf.training.trainer import make_optimizer

tfd = tfp.distributions


class VAE(keras.Model):
    """A plain variational autoencoder of AIR's size, with the same likelihood.

    As many latents as AIR has in all its steps; layers of widths that give about as many weights.
    """

    def __init__(self, config: ModelConfig, seed: int):
        super().__init__()
        self.seed = seed
        self.likelihood = config.likelihood.make(config.image_shape[2])
        latents, width = (
            config.max_objects * config.objects.num_latents(),
            config.inference.embedding_units,
        )
        self.flat = keras.layers.Flatten()
        self.embedding = keras.layers.Dense(width, activation="relu")
        self.encoder = NormalParameters(MLP(width, 2 * latents), [0.0] * latents, [1.0] * latents)
        pixels = int(np.prod(config.image_shape))
        self.decoder = keras.Sequential(
            [
                keras.layers.Dense(width, activation="relu"),
                keras.layers.Dense(width, activation="relu"),
                keras.layers.Dense(pixels),
                keras.layers.Reshape(config.image_shape),
            ]
        )
        self.decoder_bias = config.objects.decoder_bias
        self.elbo(tf.zeros((1, *config.image_shape)), (0, 0))  # builds the layers
        self.built = True

    def q_z(self, x) -> tfd.Distribution:
        """q(z | x)."""
        return normal(*self.encoder(self.embedding(self.flat(x))))

    def draw(self, z) -> tf.Tensor:
        """Images in [0, 1] of latents `(B, L)`."""
        return tf.sigmoid(self.decoder(z) + self.decoder_bias)

    def elbo(self, x, seed) -> tf.Tensor:
        """`(B,)`, nats."""
        q_z = self.q_z(x)
        z = q_z.mean() + q_z.stddev() * tf.random.stateless_normal(tf.shape(q_z.mean()), seed)
        p_z = normal(tf.zeros_like(z), tf.ones_like(z))
        return self.likelihood.log_prob(x, self.draw(z)) - tfd.kl_divergence(q_z, p_z)

    def train_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            step = tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.int32)
            loss = -tf.reduce_mean(self.elbo(x, (step, self.seed)))
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return {"loss": loss}


def vae_of(images: np.ndarray, seed: int, like: AIR, training: TrainingConfig, kept: Path) -> VAE:
    """A VAE of the size of `like`, trained as AIR is; `kept` is the file of its weights."""
    keras.utils.set_random_seed(seed)
    vae = VAE(like.config, seed)
    if kept.exists():
        vae.load_weights(kept)
        return vae
    vae.compile(optimizer=make_optimizer(training), jit_compile=True)
    sizes = [sum(int(np.prod(w.shape)) for w in m.trainable_weights) for m in (vae, like)]
    print("Training a VAE of {:,} weights; AIR has {:,}.".format(*sizes), flush=True)
    data = batches(images, training.batch_size, seed, 0, training.steps)
    vae.fit(data, steps_per_epoch=training.steps, shuffle=False)
    part = kept.with_name(f"part-{kept.name}")
    vae.save_weights(part)
    part.replace(kept)
    return vae


def evaluate_vae(vae: VAE, split: Split) -> dict[str, float]:
    """Its ELBO (nats), pixel MSE and latents in use on images: KL over 0.01 nats in the mean."""
    elbos, errors, kls = [], [], []
    for batch in np.array_split(split.float_images(), -(-len(split) // 1000)):
        q_z = vae.q_z(batch)
        elbos.append(vae.elbo(batch, (0, vae.seed)))
        errors.append(tf.reduce_mean((vae.draw(q_z.mean()) - batch) ** 2, axis=(1, 2, 3)))
        kls.append(tfd.Normal(q_z.mean(), q_z.stddev()).kl_divergence(tfd.Normal(0.0, 1.0)))
    elbo, error, kl = (np.concatenate(values) for values in (elbos, errors, kls))
    return {
        "elbo": float(elbo.mean()),
        "pixel_mse": float(error.mean()),
        "latents": kl.shape[1],
        "latents_in_use": int((kl.mean(axis=0) > 0.01).sum()),
    }
