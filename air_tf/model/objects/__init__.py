"""The kinds of objects: each has its latents, infers them, and draws what they mean."""

from air_tf.model.objects.base import Objects, Samples, summed_out
from air_tf.model.objects.glimpse import GlimpseSettings
from air_tf.model.objects.rendered import RenderedSettings
from air_tf.parts import one_of

__all__ = ["GlimpseSettings", "Objects", "ObjectsSettings", "RenderedSettings", "Samples", "summed_out"]

ObjectsSettings = one_of("objects", GlimpseSettings, RenderedSettings)
