"""The settings of all parts, nested: those of each part stand beside it."""

from typing import Annotated, Literal

import tyro

from air_tf.data import DatasetSettings
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.estimators import EstimatorSettings
from air_tf.estimators.enumerate import EnumerateSettings
from air_tf.model.background import BackgroundSettings, NoBackgroundSettings
from air_tf.model.composition import AddSettings, CompositionSettings
from air_tf.model.count import CountSettings
from air_tf.model.inference import InferenceSettings
from air_tf.model.likelihood import LikelihoodSettings, NormalSettings
from air_tf.model.networks import MLPSettings, NetworksSettings
from air_tf.model.objects import GlimpseSettings, ObjectsSettings
from air_tf.parts import flat
from air_tf.preparation import Preparation
from air_tf.training.settings import RunConfig, TrainingConfig
from air_tf.validation import Objects, Share, Side, require, settings

CANVASES = 8  # images that a step of inference keeps for each object, at the least
MOST_IMAGES = 2000  # that the classes of objects may make
SIZES = "_shape", "_objects", "_size", "_units", "_samples"  # endings of settings that say how large


@settings
class ModelConfig:
    """The model (Eslami et al. 2016, section 2) and how its count is inferred."""

    image_shape: Annotated[tuple[Side, Side, Literal[1, 3]], tyro.conf.Suppress] = (50, 50, 1)
    """(height, width, channels) in pixels, which the data set decides."""

    preparation: Annotated[Preparation, tyro.conf.Suppress] = Preparation()
    """How picture files become images, which the data set decides."""

    max_objects: Objects = 3
    """N, the most objects in an image: the number of steps that are unrolled."""

    ink_threshold: Share = 0.25
    """A tight box holds the pixels of an object above this share of its brightest one."""

    inference: InferenceSettings = InferenceSettings()
    networks: NetworksSettings = MLPSettings()
    objects: ObjectsSettings = GlimpseSettings()
    composition: CompositionSettings = AddSettings()
    background: BackgroundSettings = NoBackgroundSettings()
    likelihood: LikelihoodSettings = NormalSettings()
    count: CountSettings = CountSettings()
    estimator: EstimatorSettings = EnumerateSettings()

    def __post_init__(self):
        objects, composition = self.objects.objects, self.composition.composition
        require((composition == "nearest") == (objects == "rendered"),
                "composition nearest for objects rendered, which say how far away they are, and for no "
                "others", composition=composition, objects=objects)  # fmt: skip
        require(self.images_of_classes() <= MOST_IMAGES,
                f"fewer objects, whose classes make at most {MOST_IMAGES:,} images to sum over",
                max_objects=self.max_objects)  # fmt: skip

    def images_of_classes(self) -> int:
        """How many more images there are to compose than if objects had one class each."""
        classes = getattr(self.objects, "num_classes", 1)
        return sum(classes**n - 1 for n in range(self.max_objects + 1))

    def num_weights(self) -> int:
        """About how many weights the model has."""
        of_objects = self.objects.num_weights(self.networks, self.image_shape, self.inference.lstm_units)
        of_objects += self.background.num_weights(self.image_shape)
        return of_objects + self.inference.num_weights(self.image_shape, self.objects.num_latents())

    def num_activations(self, batch_size: int) -> int:
        """At least how many numbers a step on a batch keeps."""
        height, width, channels = self.image_shape
        samples = batch_size * getattr(self.estimator, "importance_samples", 1)
        image = height * width * channels
        of_object = CANVASES * image + self.objects.num_activations(channels)
        return samples * (self.max_objects * of_object + self.images_of_classes() * image)

    def sizes(self) -> dict:
        """The settings that say how large the model is."""
        return {name: value for name, value in flat(self).items() if name.endswith(SIZES)}


@settings
class Config:
    """Train AIR to count, box and encode the objects in images, without labels."""

    data: DatasetSettings = MultiMNISTSettings()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self):
        needed, objects = self.data.drawn_with, self.model.objects.objects
        require(objects == needed, f"objects {needed} for dataset {self.data.dataset}", objects=objects)
        self.data.check_trainable()
        self.model.objects.check_available()  # before images are drawn
