"""AIR as a Keras model: inference, generation and the training step.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575.
"""

import dataclasses
import functools
import json
from pathlib import Path

import keras
import tensorflow as tf

from air_tf import preset_folder
from air_tf.config import ModelConfig
from air_tf.estimators.base import Estimate
from air_tf.estimators.bounds import Terms, Unrolled, enumerated_terms, log_weights, term_names
from air_tf.memory import check_model_fits
from air_tf.model.count import at_least
from air_tf.model.inference import Inference
from air_tf.model.noise import Noise, Sizes, no_noise, stateless_noise
from air_tf.model.where import tight_boxes
from air_tf.scene import Layers, Scene, check_images
from air_tf.serving.endpoints import Endpoints, endpoint_functions
from air_tf.serving.predictor import Predictor
from air_tf.validation import parse_json

NO_REPLICA = -1  # stands for a replica in the seeds of noise outside of training


@keras.saving.register_keras_serializable("air_tf")
class AIR(Predictor, keras.Model):
    """Attend, Infer, Repeat [1]: counts, boxes and encodes the objects in images.

    The generative model p and the inference network q, of parts that the config chooses:

        p  n ~ count_prior;  z_i ~ objects.priors();  x ~ likelihood(composition(background, layers))
        q  N times: inference infers one of the objects, as if it and all before it were present

    Built at once, so its weights can be restored before it has seen an image. Works in plain
    Keras: `AIR(config).compile("adam")` and `.fit(dataset)` of images or (images, counts).

    Args:
        config: `ModelConfig`.
        seed: of the noise in training. Weights follow `keras.utils.set_random_seed`.

    Call arguments:
        images: `(B, H, W, C)` float32 in [0, 1].

    Returns:
        `Scene`: at the posterior means and the most probable count, so deterministic.
    """

    def __init__(self, config: ModelConfig | None = None, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.config = config = config or ModelConfig()
        check_model_fits(config)
        self.seed, shape = seed, config.image_shape
        self.inference = Inference(config.inference, config.networks, shape)
        self.composition = config.composition.make()
        self.objects = config.objects.make(config.networks, shape, self.composition.uses_alpha)
        self.background = config.background.make(shape)
        self.likelihood = config.likelihood.make(shape[2])
        self.estimator = config.estimator.make()
        self.objects.choose = self.estimator.choose
        self.supports_jit = self.objects.compiled  # of Keras' own training
        self.count_prior = config.count.make(config.max_objects)
        self.sizes = Sizes(config.max_objects, self.objects.sizes, self.background.sizes)
        names = term_names([*self.objects.sizes, *self.background.sizes])
        self.term_metrics = {name: keras.metrics.Mean(name) for name in names}
        self.accuracy_metric = keras.metrics.Mean("count_accuracy")
        # concrete functions: TensorFlow warns of those that many models trace from one line of code
        self._compiled = functools.cache(self._compile)
        nothing = tf.zeros((1, *shape))
        self.bound(nothing, no_noise(self.sizes, self.estimator.samples), 0)
        self._readings = {
            name: tf.TensorSpec((None, *values.shape[1:]), values.dtype)
            for name, values in self(nothing).readings.items()
        }

    @property
    def endpoints(self) -> Endpoints:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What `infer`, `infer_encoded`, `prepare`, `decode` and `layers_of` take and give."""
        shape, most = self.config.image_shape, self.config.max_objects
        return Endpoints(shape, most, self.objects.sizes, self.background.sizes, self._readings)

    @property
    def variable_groups(self) -> list[list]:
        """The trainable variables: the model's, and those that the estimator has for itself."""
        own = self.estimator.trainable_variables
        ids = {id(variable) for variable in own}
        return [[v for v in self.trainable_variables if id(v) not in ids], own]

    def compile(self, optimizer="adam", **kwargs):
        """As `keras.Model.compile`; the optimizer is built, or loading would skip its state."""
        super().compile(optimizer=optimizer, **kwargs)
        self.optimizer.build(self.variable_groups[0])

    def compile_from_config(self, config):
        """Keras leaves a model with its own `compile` uncompiled."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def rho(self, train_step: int | None = None) -> float:
        """The prior's rho after `train_step` training steps; None: outside of training."""
        return self.count_prior.rho(train_step)

    def unroll(self, x: tf.Tensor, noise: Noise, train_step=None, samples: int = 1) -> Unrolled:
        """Infers N objects one after the other, as if all were present.

        Args:
            x: images, `(B, H, W, C)`.
            noise: for `samples` times B images.
            train_step: that the prior over counts is of; None: outside of training.
            samples: how many per image; those of an image follow each other.

        Returns:
            `Unrolled`, of batch size `samples` times B.
        """
        x = tf.repeat(x, samples, axis=0) if samples > 1 else x
        behind = self.background.infer(x, noise.background)
        embedded = self.inference.embedded(x, behind.layer)
        state = self.inference.initial_state(embedded, behind.layer, self.objects)
        steps = []
        for of_step in noise.objects:
            step, state = self.inference(
                x, noise=of_step, prev=state, objects=self.objects, composition=self.composition
            )
            steps.append(step)
        p_count, rho_logit = self.count_prior.at(train_step), self.count_prior.logit_at(train_step)
        return Unrolled(x, steps, behind, noise, p_count, rho_logit, self.composition, self.likelihood)

    def call(self, images):
        return self.scene(self.unroll(images, no_noise(self.sizes, tf.shape(images)[0])))

    def scene(self, unrolled: Unrolled) -> Scene:
        """What the steps say of the images, at the most probable count."""
        q_count = unrolled.q_count
        counts = tf.argmax(q_count.logits_parameter(), axis=-1, output_type=tf.int32)
        present = tf.sequence_mask(counts, self.config.max_objects, tf.float32)[..., None]
        samples = [step.samples for step in unrolled.steps]
        latents = {
            name: tf.stack([of_step[name] for of_step in samples], axis=1) for name in self.objects.sizes
        }
        ink = tf.stack([layer.ink for layer in unrolled.layers], axis=1)
        canvases = self.composition.canvases(unrolled.behind.layer, unrolled.layers)
        return Scene(
            counts=counts,
            count_probs=q_count.probs_parameter(),
            boxes=tf.clip_by_value(self.objects.windows(latents), 0.0, 1.0) * present,
            tight_boxes=tight_boxes(ink, self.config.ink_threshold) * present,
            scores=at_least(q_count),
            reconstructions=_of_counts(canvases, counts),
            backgrounds=unrolled.behind.layer.colour,
            latents=latents | {name: latent.sample for name, latent in unrolled.behind.latents.items()},
            readings=self.objects.readings(latents),
        )

    def elbo(self, images, seed: int = 0) -> Terms:
        """The ELBO with the count summed out, for every estimator, from one sample of the latents.

        Args:
            images: as for `infer`.
            seed: of the sample, which is none of those that training draws.

        Returns:
            `elbo`, its parts `log_px` and `kl_count`, and `kl_NAME` of each latent: `(B,)` nats each.

        Raises:
            ValueError: as `infer`.
        """
        check_images(images, self.image_shape)
        images = tf.convert_to_tensor(images, tf.float32)
        return self._compiled("elbo")(images, tf.constant(seed))

    def _predict(self, endpoint, inputs):
        return self._compiled(endpoint)(**inputs)

    def _compile(self, name: str):
        """The concrete function of an endpoint, or of `elbo`."""

        def elbo(images, seed):
            noise = self.sample_noise(tf.shape(images)[0], seed, replica=NO_REPLICA)
            return self.terms(images, noise)

        specs, functions = self.endpoints.inputs, endpoint_functions(self) | {"elbo": elbo}
        specs["elbo"] = specs["serving_default"] | {"seed": tf.TensorSpec((), tf.int32, "seed")}
        function = tf.function(functions[name], input_signature=list(specs[name].values()))
        return function.get_concrete_function()

    def terms(self, x, noise: Noise) -> Terms:
        """The ELBO with the count summed out, and its parts, per image: `(B,)` nats each."""
        unrolled = self.unroll(x, noise)
        return enumerated_terms(unrolled, unrolled.log_px())

    def log_weights(self, x, noise: Noise, samples: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Logarithms of importance weights, whose mean is an unbiased estimate of p(x).

        Args:
            x: images, `(B, H, W, C)`.
            noise: for `samples` times B images.
            samples: how many per image.

        Returns:
            `(B, samples)` each: with the count summed out, and sampled, as in published bounds.
        """
        summed, sampled = log_weights(self.unroll(x, noise, samples=samples))
        return tf.reshape(summed, (-1, samples)), tf.reshape(sampled, (-1, samples))

    def draw(self, counts, latents) -> tf.Tensor:
        """`decode`, unchecked and not compiled."""
        behind = self.background.draw(latents, tf.shape(counts)[0])
        return _of_counts(self.composition.canvases(behind, self._layers_of(latents)), counts)

    def draw_layers(self, counts, latents) -> Layers:
        """`layers_of`, unchecked and not compiled."""
        layers = self._layers_of(latents)
        present = tf.sequence_mask(counts, len(layers), tf.float32)
        masks = self.composition.masks(layers, present)
        colours = tf.stack([layer.colour for layer in layers], axis=1)
        return Layers(colours, masks, self.objects.corners(latents))

    def _layers_of(self, latents):
        names = [*self.objects.sizes]
        of_objects = zip(*(tf.unstack(latents[name], axis=1) for name in names))
        return [self.objects.draw(dict(zip(names, values))) for values in of_objects]

    def generate(self, num_images: int, seed: int = 0, counts=None) -> tf.Tensor:
        """Images from the prior: the mean of p(x | z, n), `(num_images, H, W, C)`.

        Args:
            num_images: to draw.
            seed: of the latents.
            counts: `(num_images,)` numbers of objects; None: from the prior too.
        """
        objects, behind = self.objects.priors(), self.background.priors()
        seeds = iter([tf.constant([seed, part]) for part in range(1 + len(objects) + len(behind))])
        sampled = self.count_prior.at().sample(num_images, seed=next(seeds))
        shape = num_images, self.config.max_objects
        drawn = {name: prior.sample(shape, seed=next(seeds)) for name, prior in objects.items()}
        of_behind = {name: prior.sample(num_images, seed=next(seeds)) for name, prior in behind.items()}
        latents = self.objects.constrain(drawn) | of_behind
        return self.draw(sampled if counts is None else counts, latents)

    def sample_noise(self, batch_size, train_step, replica=0) -> Noise:
        """The noise of a training step: a pure function of (seed, step, replica)."""
        seed = tf.random.fold_in(tf.constant([self.seed, 0]), train_step)
        seed = tf.random.fold_in(seed, replica)
        return stateless_noise(self.sizes, batch_size, seed)

    def bound(self, x, noise: Noise, train_step) -> Estimate:
        """What training maximises, and the bound's terms, per image.

        Args:
            x: images, `(B, H, W, C)`.
            noise: for `estimator.samples` times B images.
            train_step: int scalar, training steps done so far.
        """
        unrolled = self.unroll(x, noise, train_step, self.estimator.samples)
        return self.estimator.estimate(unrolled, train_step)

    def gradients(self, x, train_step, replica=0, num_replicas: int = 1):
        """The gradient of this replica's share of the loss for `variable_groups`, and the `Estimate`."""
        noise = self.sample_noise(tf.shape(x)[0] * self.estimator.samples, train_step, replica)
        with tf.GradientTape() as tape:
            estimate = self.bound(x, noise, train_step)
            loss = -tf.reduce_mean(estimate.objective) / num_replicas
        return tape.gradient(loss, self.variable_groups), estimate

    def apply_gradients(self, optimizer, gradients, estimate: Estimate) -> None:
        """One step of the model's optimizer, and what the estimator does with its own gradients."""
        optimizer.apply(gradients[0], self.variable_groups[0])
        self.estimator.update(gradients[1], estimate)

    def train_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        context = tf.distribute.get_replica_context()
        step, replica = tf.convert_to_tensor(self.optimizer.iterations), context.replica_id_in_sync_group
        gradients, estimate = self.gradients(x, step, replica, context.num_replicas_in_sync)
        self.apply_gradients(self.optimizer, gradients, estimate)
        return self._update_metrics(estimate.terms, x, None)

    def test_step(self, data):
        x, counts, _ = keras.utils.unpack_x_y_sample_weight(data)
        terms = self.terms(x, self.sample_noise(tf.shape(x)[0], 0, NO_REPLICA))
        return self._update_metrics(terms, x, counts)

    def _update_metrics(self, terms: Terms, x, counts) -> dict:
        for name, values in terms.items():
            self.term_metrics[name].update_state(values)
        results = {name: metric.result() for name, metric in self.term_metrics.items()}
        if counts is not None:
            correct = tf.equal(self(x).counts, tf.cast(counts, tf.int32))
            self.accuracy_metric.update_state(tf.cast(correct, tf.float32))
            results["count_accuracy"] = self.accuracy_metric.result()
        return results

    @classmethod
    def from_preset(cls, preset: str | Path, load_weights: bool = True) -> "AIR":
        """The model of a preset, which is in KerasHub's layout.

        Args:
            preset: the name of one that comes with the package, `multi_mnist`; the folder of one; or
                `hf://USER/NAME`, which is downloaded from Hugging Face.
            load_weights: whether it is trained already.

        Raises:
            ValueError: there is no such preset, or it is damaged.
        """
        config, seed, weights = preset_folder.read(preset)
        model = cls(config, seed)
        if load_weights:
            preset_folder.load_weights(model, weights)
        return model

    def save_to_preset(self, folder: str | Path) -> None:
        """Writes the model as a preset, for `from_preset`; an earlier one in the folder is replaced.

        Raises:
            ValueError: the folder is a file.
            OSError: it cannot be written; an earlier preset stays as it was.
        """
        preset_folder.save(self, folder)

    def get_config(self):
        return {**super().get_config(), "config": dataclasses.asdict(self.config), "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        model = parse_json(json.dumps(config["config"]), ModelConfig, "settings", "the saved model")
        return cls(**{**config, "config": model})


def _of_counts(canvases: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """The images with the first `counts (B,)` objects, `(B, H, W, C)`, out of `(N + 1, B, H, W, C)`."""
    return tf.gather(tf.transpose(canvases, [1, 0, 2, 3, 4]), counts, batch_dims=1)
