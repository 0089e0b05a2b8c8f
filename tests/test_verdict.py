"""Sentences about models of which it is known what is wrong."""

from types import SimpleNamespace

import numpy as np
import pytest

from air_tf.data.split import Split
from air_tf.evaluation import verdict
from air_tf.evaluation.verdict import Findings, collapse, find, sentences, unexplained
from air_tf.scene import Layers, Scene

COUNTS = np.arange(60) % 3
random = np.random.default_rng(0)


class Known:
    """A model of which it is known what it says of any image.

    Args:
        counts: by q(n).
        drawn: of them, those that draw something.
        images: that it reconstructs.
        background: of each image.
    """

    def __init__(self, counts, drawn, images, background):
        masks = np.zeros((len(counts), 3, *images.shape[1:3]), np.float32)
        for mask, number, count in zip(masks, drawn, counts):
            mask[:count] = 0.3  # a faint veil
            mask[:count, 6, 6] = 0.8  # a speck
            mask[:number, 2:5, 3:6] = 0.8
        boxes = np.zeros((len(counts), 3, 4), np.float32)
        probs, scores = np.zeros((len(counts), 4)), np.zeros((len(counts), 3))
        self.scene = Scene(counts, probs, boxes, boxes, scores, images, background, {})
        self.endpoints, self.image_shape = SimpleNamespace(max_objects=3), images.shape[1:]
        self.layers = Layers(None, masks, None)

    def infer(self, images):
        return self.scene

    def layers_of(self, scene):
        return self.layers


def split(true_counts=None):
    images = random.integers(0, 256, (60, 8, 8, 1), np.uint8)
    if true_counts is None:
        return Split.unlabelled(images)
    return Split.of(images, true_counts.astype(np.int32), np.zeros((60, 0, 4)))


def findings(part, counts=COUNTS, drawn=COUNTS, noise=0.0, background=None):
    images = part.float_images()
    recons = images + noise * random.normal(size=images.shape)
    behind = np.zeros_like(images) if background is None else background
    return find(Known(counts, drawn, recons, behind), part)


def test_a_good_model_has_nothing_wrong():
    said = sentences(findings(split()))
    assert said[0].startswith("The reconstructions leave 0% of the pictures' variation")
    assert said[1:] == ["Nothing looks wrong: the counts are 0, 1, 2, and every object is drawn."]


def test_unexplained_is_one_for_the_mean_image_and_the_share_of_the_variance_else():
    images = random.normal(0.5, 0.2, (400, 8, 8, 1))
    assert unexplained(images, np.broadcast_to(images.mean(axis=0), images.shape)) == pytest.approx(1)
    noisy = images + random.normal(0, 0.1, images.shape)
    assert unexplained(images, noisy) == pytest.approx(0.25, rel=0.05)  # 0.1^2 / 0.2^2
    assert unexplained(np.ones((3, 8, 8, 1)), np.zeros((3, 8, 8, 1))) == 0


def test_poor_reconstructions_are_said_with_what_to_try():
    found = findings(split(), noise=0.25)
    assert found.unexplained == pytest.approx(0.25**2 / (1 / 12), rel=0.1)  # uniform pixels
    [said] = sentences(found)
    assert "That is much: try more --steps" in said


@pytest.mark.parametrize(
    "count, words", [(0, "--object-size"), (1, "--warm-start-steps"), (3, "--count-bound marginal")]
)
def test_a_collapse_has_its_own_remedy(count, words):
    counts = np.full(60, count)
    said = sentences(findings(split(), counts, counts))
    assert said[1].startswith("Collapse: 100% of the images are given") and words in said[1]
    assert len(said) == 2
    assert collapse(counts[:19], 3, None) is None  # too few to tell
    assert collapse(COUNTS, 3, None) is None


def test_the_same_count_for_all_is_right_where_all_have_as_many():
    ones = np.ones(60, int)
    said = sentences(findings(split(ones), ones, ones))
    assert said[1:] == ["Nothing looks wrong: the counts are 1, and every object is drawn."]
    assert len(sentences(findings(split(COUNTS), ones, ones))) == 2 and collapse(ones, 1, 0.34)


def test_empty_drawings_are_told_from_objects():
    """Without labels, and what either count reaches with them."""
    counts = np.full(60, 3)
    for part, labels in (split(), ""), (split(COUNTS), " Against the labels 0% and 100% are right."):
        said = sentences(findings(part, counts, COUNTS))
        assert said[-1].startswith(
            "In 100% of the pictures objects are counted that draw next to nothing or lie beneath "
            f"others: of 3.0 on average 1.0 draw something.{labels} Try more --steps"
        )
    few = COUNTS.copy()
    few[:5] = 2
    assert len(sentences(findings(split(), COUNTS, np.minimum(few, COUNTS)))) == 2


def test_a_background_that_draws_the_objects_is_noticed():
    part = split()
    images = part.float_images()
    swallowed = findings(part, background=images * 0.99 + 0.005)
    assert "The background draws nearly all there is" in sentences(swallowed)[1]
    plain = findings(part, background=np.broadcast_to(images.mean(axis=0), images.shape))
    assert plain.behind == pytest.approx(1) and "Nothing looks wrong" in sentences(plain)[1]


def test_no_labels_and_no_background_are_needed():
    found = findings(split())
    assert found.behind is None and found.right is None and found.drawn_right is None
    assert isinstance(found, Findings) and verdict.verdict(
        Known(COUNTS, COUNTS, split().float_images(), np.zeros((60, 8, 8, 1))), split()
    )
