"""AIR as a Keras model: inference, generation and the training step.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575.
"""

import dataclasses
import functools

import keras
import tensorflow as tf

from air_tf.config import ModelConfig
from air_tf.estimators import (
    OBJECTIVES,
    Estimate,
    Priors,
    Terms,
    canvas_of,
    enumerated_terms,
    kl_divergences,
    log_likelihoods,
    log_weights,
    pres_logits,
)
from air_tf.memory import check_model_fits
from air_tf.model.count import CountPrior, at_least, count_posterior
from air_tf.model.inference import AIRCell, Step
from air_tf.model.noise import StepNoise, no_noise, stateless_noise
from air_tf.model.where import boxes, tight_boxes
from air_tf.scene import Scene, check_images
from air_tf.serving.endpoints import Endpoints, endpoint_functions
from air_tf.serving.predictor import Predictor

NO_REPLICA = -1  # stands for a replica in the seeds of noise outside of training


@keras.saving.register_keras_serializable("air_tf")
class AIR(Predictor, keras.Model):
    """Attend, Infer, Repeat [1]: counts, boxes and encodes the objects in images.

    Built at once, so its weights can be restored before it has seen an image. Works in plain
    Keras: `AIR(config).compile("adam")` and `.fit(dataset)` of images or (images, counts). With
    `presence="nvil"`, `compile` takes the baseline's own `baseline_optimizer` too.

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
        self.config = config or ModelConfig()
        check_model_fits(self.config)
        self.seed = seed
        self.cell = AIRCell(self.config)
        self.objective = OBJECTIVES[self.config.presence](self.config)
        self.count_prior = CountPrior(self.config)
        self.term_metrics = {name: keras.metrics.Mean(name) for name in Terms._fields}
        self.accuracy_metric = keras.metrics.Mean("count_accuracy")
        # concrete functions: TensorFlow warns of those that many models trace from one line of code
        self._compiled = functools.cache(self._compile)
        nothing = tf.zeros((1, *self.config.image_shape))
        self.bound(nothing, no_noise(self.config, self.config.importance_samples), 0)
        self(nothing)

    @property
    def endpoints(self) -> Endpoints:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What `infer`, `infer_encoded`, `prepare` and `decode` take and give."""
        return Endpoints(self.config.image_shape, self.config.max_objects, self.config.z_what_size)

    @property
    def variable_groups(self) -> list[list]:
        """The trainable variables, a list for each optimizer: the model's, the baseline's if any."""
        baseline = getattr(self.objective, "baseline", None)
        own = [] if baseline is None else baseline.trainable_variables
        ids = {id(variable) for variable in own}
        model = [variable for variable in self.trainable_variables if id(variable) not in ids]
        return [model, own] if own else [model]

    def compile(self, optimizer="adam", baseline_optimizer="adam", **kwargs):
        """As `keras.Model.compile`; `baseline_optimizer` is nvil's, for its baseline."""
        super().compile(optimizer=optimizer, **kwargs)
        groups = self.variable_groups
        self.optimizers = [self.optimizer, keras.optimizers.get(baseline_optimizer)][: len(groups)]
        for own, group in zip(self.optimizers, groups):
            own.build(group)  # or loading would skip its state

    def get_compile_config(self):
        config = super().get_compile_config()
        if config and len(self.optimizers) > 1:
            config["baseline_optimizer"] = keras.saving.serialize_keras_object(self.optimizers[1])
        return config

    def compile_from_config(self, config):
        """Keras leaves a model with its own `compile` uncompiled."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def rho(self, train_step: int | None = None) -> float:
        """The prior's rho after `train_step` training steps; None: outside of training."""
        if train_step is None and self.config.rho_schedule != "learned":
            return self.config.rho  # to all its digits
        return float(tf.sigmoid(self.count_prior.logit_at(train_step)))

    def priors(self, train_step=None) -> Priors:
        """After `train_step` training steps; None: outside of training."""
        prior, cell = self.count_prior, self.cell
        return Priors(prior.at(train_step), prior.logit_at(train_step), cell.p_where, cell.p_what)

    def unroll(self, x: tf.Tensor, noise: list[StepNoise], samples: int = 1) -> list[Step]:
        """Infers N objects one after the other, as if all were present.

        Args:
            x: images, `(B, H, W, C)`.
            noise: of `samples` times B.
            samples: of each image; they come one after the other.

        Returns:
            The N steps, of batch size `samples` times B.
        """
        state = self.cell.initial_state(x)
        if samples > 1:
            x, state = tf.nest.map_structure(lambda t: tf.repeat(t, samples, axis=0), (x, state))
        steps = []
        for step_noise in noise:
            step, state = self.cell(x, step_noise, state)
            steps.append(step)
        return steps

    def call(self, images):
        return self.scene(self.posterior_means(images))

    def posterior_means(self, images) -> list[Step]:
        """The N steps without noise."""
        return self.unroll(images, no_noise(self.config, tf.shape(images)[0]))

    def scene(self, steps: list[Step]) -> Scene:
        """What the steps say of the images, at the most probable count."""
        q_count = count_posterior(pres_logits(steps))
        counts = tf.argmax(q_count.logits_parameter(), axis=-1, output_type=tf.int32)
        z_where = tf.stack([step.z_where for step in steps], axis=1)
        present = tf.sequence_mask(counts, self.config.max_objects, tf.float32)[..., None]
        placed = [step.placed for step in steps]
        ink = tight_boxes(tf.stack(placed, axis=1), self.config.ink_threshold)
        return Scene(
            counts=counts,
            count_probs=q_count.probs_parameter(),
            boxes=boxes(z_where, self.config.image_shape) * present,
            tight_boxes=ink * present,
            scores=at_least(q_count),
            reconstructions=canvas_of(counts, placed),
            z_what=tf.stack([step.z_what for step in steps], axis=1),
            z_where=z_where,
        )

    def elbo(self, images, seed: int = 0) -> Terms:
        """The ELBO with the count summed out, for every estimator, from one sample of the latents.

        Args:
            images: as for `infer`.
            seed: of the sample, which is none of those that training draws.

        Returns:
            `Terms`, `(B,)` nats each.

        Raises:
            ValueError: as `infer`.
        """
        check_images(images, self.image_shape)
        images = tf.convert_to_tensor(images, tf.float32)
        return Terms(**self._compiled("elbo")(images, tf.constant(seed)))

    def _predict(self, endpoint, inputs):
        return self._compiled(endpoint)(**inputs)

    def _compile(self, name: str):
        """The concrete function of an endpoint, or of `elbo`."""

        def elbo(images, seed):
            noise = self.sample_noise(tf.shape(images)[0], seed, replica=NO_REPLICA)
            return self.terms(images, noise)._asdict()

        specs, functions = self.endpoints.inputs, endpoint_functions(self) | {"elbo": elbo}
        specs["elbo"] = specs["serving_default"] | {"seed": tf.TensorSpec((), tf.int32, "seed")}
        function = tf.function(functions[name], input_signature=list(specs[name].values()))
        return function.get_concrete_function()

    def terms(self, x, noise: list[StepNoise]) -> Terms:
        """The ELBO with the count summed out, and its parts, per image: `(B,)` nats each."""
        steps, priors = self.unroll(x, noise), self.priors()
        log_px = log_likelihoods(x, steps, self.config.pixel_scale)
        return enumerated_terms(steps, log_px, *kl_divergences(steps, priors), priors)

    def log_weights(self, x, noise: list[StepNoise], samples: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Logarithms of importance weights, whose mean is an unbiased estimate of p(x), except where
        a sampled scale is below `min_scale`, at which it is kept.

        Args:
            x: images, `(B, H, W, C)`.
            noise: of `samples` times B.
            samples: of each image.

        Returns:
            `(B, samples)` each, as `objectives.log_weights`. Published bounds are of the sampled count.
        """
        steps, priors = self.unroll(x, noise, samples), self.priors()
        log_px = log_likelihoods(tf.repeat(x, samples, axis=0), steps, self.config.pixel_scale)
        summed, sampled = log_weights(steps, noise, log_px, priors)
        return tf.reshape(summed, (-1, samples)), tf.reshape(sampled, (-1, samples))

    def draw(self, counts, z_what, z_where) -> tf.Tensor:
        """`decode`, unchecked and not compiled."""
        latents = zip(tf.unstack(z_where, axis=1), tf.unstack(z_what, axis=1))
        return canvas_of(counts, [self.cell.draw(where, what)[1] for where, what in latents])

    def generate(self, num_images: int, seed: int = 0, counts=None) -> tf.Tensor:
        """Images from the prior: the mean of p(x | z, n), `(num_images, H, W, C)`.

        Args:
            num_images: to draw.
            seed: of the latents.
            counts: `(num_images,)` numbers of objects; None: from the prior too.
        """
        shape = (num_images, self.config.max_objects)
        seeds = [tf.constant([seed, part]) for part in range(3)]
        priors = self.priors()
        if counts is None:
            counts = priors.count.sample(num_images, seed=seeds[0])
        z_where = self.cell.keep_scale(priors.where.sample(shape, seed=seeds[1]))
        return self.draw(counts, priors.what.sample(shape, seed=seeds[2]), z_where)

    def sample_noise(self, batch_size, train_step, replica=0) -> list[StepNoise]:
        """The noise of a training step: a pure function of (seed, step, replica)."""
        seed = tf.random.fold_in(tf.constant([self.seed, 0]), train_step)
        seed = tf.random.fold_in(seed, replica)
        return stateless_noise(self.config, batch_size, seed)

    def bound(self, x, noise: list[StepNoise], train_step) -> Estimate:
        """What training maximises, and the bound's terms, per image.

        Args:
            x: images, `(B, H, W, C)`.
            noise: of `importance_samples` times B.
            train_step: int scalar, training steps done so far.
        """
        samples = self.config.importance_samples
        steps = self.unroll(x, noise, samples)
        if samples > 1:
            x = tf.repeat(x, samples, axis=0)
        return self.objective.estimate(x, steps, noise, self.priors(train_step), train_step)

    def gradients(self, x, train_step, replica=0, num_replicas: int = 1):
        """The gradient of this replica's share of the loss for `variable_groups`, and the `Estimate`."""
        noise = self.sample_noise(tf.shape(x)[0] * self.config.importance_samples, train_step, replica)
        with tf.GradientTape() as tape:
            estimate = self.bound(x, noise, train_step)
            loss = -tf.reduce_mean(estimate.objective) / num_replicas
        return tape.gradient(loss, self.variable_groups), estimate

    def apply_gradients(self, optimizers, gradients, estimate: Estimate) -> None:
        """One step of every group's optimizer, and of the estimator's running averages."""
        for optimizer, group_gradients, group in zip(optimizers, gradients, self.variable_groups):
            optimizer.apply(group_gradients, group)
        if estimate.signal is not None:
            self.objective.observe(estimate.signal)

    def train_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        context = tf.distribute.get_replica_context()
        step, replica = tf.convert_to_tensor(self.optimizer.iterations), context.replica_id_in_sync_group
        gradients, estimate = self.gradients(x, step, replica, context.num_replicas_in_sync)
        self.apply_gradients(self.optimizers, gradients, estimate)
        return self._update_metrics(estimate.terms, x, None)

    def test_step(self, data):
        x, counts, _ = keras.utils.unpack_x_y_sample_weight(data)
        terms = self.terms(x, self.sample_noise(tf.shape(x)[0], 0, NO_REPLICA))
        return self._update_metrics(terms, x, counts)

    def _update_metrics(self, terms: Terms, x, counts) -> dict:
        for name, values in terms._asdict().items():
            self.term_metrics[name].update_state(values)
        results = {name: metric.result() for name, metric in self.term_metrics.items()}
        if counts is not None:
            correct = tf.equal(self(x).counts, tf.cast(counts, tf.int32))
            self.accuracy_metric.update_state(tf.cast(correct, tf.float32))
            results["count_accuracy"] = self.accuracy_metric.result()
        return results

    def get_config(self):
        return {**super().get_config(), "config": dataclasses.asdict(self.config), "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "config": ModelConfig.from_json(config["config"])})
