import dataclasses
import functools
import socket
import sys

import numpy as np
import pytest
import tensorflow as tf

from air_tf import memory
from air_tf.data import digits, downloads, masks
from air_tf.data.digits import embedded_digits
from air_tf.data.multi_mnist import (
    MultiDigitRecipe,
    MultiMNISTSettings,
    compose,
    draw_images,
    inks,
    multi_mnist,
)
from air_tf.data.split import UNKNOWN, Split, as_float, batches

RECIPE = MultiDigitRecipe(train_images=300, test_images=60)


@pytest.mark.mnist
def test_benchmark_is_the_published_one(cache_dir):
    data = MultiMNISTSettings(digits="mnist", cache_dir=str(cache_dir)).load()
    train, test = data.splits["train"], data.splits["test"]
    pixels = sum(int(split.images.sum(dtype=np.int64)) for split in (train, test))
    assert pixels == 883_114_919
    counts = np.bincount(np.concatenate([train.counts, test.counts]))
    np.testing.assert_array_equal(counts, [19_909, 20_054, 20_037])
    assert (len(train), len(test), len(data.splits["test_digits"])) == (50_000, 10_000, 10_000)


def test_embedded_digits_are_real_ones():
    loaded = embedded_digits()
    assert loaded.train_images.shape == (1500, 28, 28) and loaded.test_images.shape == (297, 28, 28)
    assert loaded.train_images[:, :4].max() == 0 and loaded.train_images.max() == 255
    np.testing.assert_array_equal(loaded.train_labels[:5], [0, 1, 2, 3, 4])


def test_boxes_are_tight_around_each_digit(digit_splits):
    """Erasing the inside of all boxes erases the image; erasing less does not."""
    split = digit_splits["train"]
    edges = np.round(split.boxes * 50).astype(int)
    np.testing.assert_allclose(edges / 50, split.boxes, atol=1e-6)
    for image, count, image_edges in zip(split.images, split.counts, edges):
        assert image_edges[count:].any() == False  # noqa: E712
        image = image[..., 0].copy()
        if count == 1:
            ymin, xmin, ymax, xmax = image_edges[0]
            for line in (image[ymin], image[ymax - 1], image[:, xmin], image[:, xmax - 1]):
                assert line.any()
        for ymin, xmin, ymax, xmax in image_edges[:count]:
            image[ymin:ymax, xmin:xmax] = 0
        assert not image.any()


def test_placements_draw_the_objects_again(digit_splits):
    from PIL import Image

    split, source = digit_splits["test"], embedded_digits()
    for image, count, placements, labels in zip(
        split.images, split.counts, split.placements, split.labels
    ):
        canvas = np.zeros((50, 50), int)
        for (index, side, top, left), label in zip(placements[:count], labels):
            digit = Image.fromarray(source.test_images[index])
            digit = digit.resize((side, side), Image.Resampling.BILINEAR)
            canvas[top : top + side, left : left + side] += np.asarray(digit)
            assert source.test_labels[index] == label
        np.testing.assert_array_equal(canvas, image[..., 0])


def test_images_are_a_function_of_the_recipe():
    source = embedded_digits()
    first, again = multi_mnist(source, RECIPE), multi_mnist(source, RECIPE)
    other = multi_mnist(source, dataclasses.replace(RECIPE, seed=1))
    np.testing.assert_array_equal(first["train"].images, again["train"].images)
    assert (first["train"].images != other["train"].images).any()


def test_more_digits_on_a_larger_canvas():
    recipe = MultiDigitRecipe(canvas_size=90, digit_counts=(0, 2, 5))
    source = embedded_digits()
    split = draw_images(source.train_images, source.train_labels, 80, recipe, 0, 2)
    assert split.images.shape == (80, 90, 90, 1)
    assert set(split.counts) == {0, 2, 5}


def numbered_images(count):
    return np.arange(count, dtype=np.uint8)[:, None, None, None]


def taken(dataset):
    """The numbers of the images in each batch."""
    return [np.round(batch.numpy().ravel() * 255).astype(int).tolist() for batch in dataset]


def test_batches_are_a_function_of_seed_and_step():
    images = numbered_images(40)
    whole = taken(batches(images, 8, seed=3, start=0, stop=20))
    assert whole[7:12] == taken(batches(images, 8, seed=3, start=7, stop=12))
    assert whole != taken(batches(images, 8, seed=4, start=0, stop=20))
    for epoch in range(4):  # each pass shows every image once, in its own order
        assert sorted(sum(whole[5 * epoch : 5 * epoch + 5], [])) == list(range(40))
    assert whole[:5] != whole[5:10]


def test_batches_are_the_same_on_every_machine():
    assert taken(batches(numbered_images(10), 5, seed=0, start=0, stop=2)) == EXPECTED_BATCHES


EXPECTED_BATCHES = [[0, 9, 1, 8, 4], [5, 3, 6, 7, 2]]


def test_replicas_share_a_step():
    images = numbered_images(40)
    alone = taken(batches(images, 8, seed=3, start=2, stop=4))
    workers = [
        taken(batches(images, 8, 3, 2, 4, replicas=replicas, num_replicas=4))
        for replicas in (range(0, 2), range(2, 4))
    ]
    for step in range(2):
        shares = [share for worker in workers for share in worker[2 * step : 2 * step + 2]]
        assert sum(shares, []) == alone[step]


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="multiple of the 3 replicas. Received: batch_size=8"):
        batches(numbered_images(40), 8, 0, 0, 1, num_replicas=3)


def test_images_without_objects_are_shown_last():
    counts = np.array([0, 2, UNKNOWN, 0, 1])
    split = Split.of(np.zeros((5, 4, 4, 1), np.uint8), counts, np.zeros((5, 2, 4)))
    assert split.examples(4).tolist() == [1, 2, 4, 0]
    assert split[[0, 3]].examples(4).tolist() == [0, 1]


def test_as_float_takes_arrays_and_tensors():
    pixels = np.array([0, 51, 255], np.uint8)
    np.testing.assert_allclose(as_float(pixels), [0, 0.2, 1])
    np.testing.assert_array_equal(as_float(tf.constant(pixels)), as_float(pixels))
    assert as_float(pixels).dtype == np.float32


def test_mnist_through_tensorflow_datasets(monkeypatch):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(downloads, "is_prepared", lambda name: name == "mnist")
    monkeypatch.delenv("AIR_MNIST", raising=False)
    with tfds.testing.mock_data(num_examples=7):
        loaded, line = digits.load_digits("auto", "")
    assert loaded.name == "mnist" and loaded.train_images.shape == (7, 28, 28)
    assert "tensorflow-datasets" in line


def test_digits_from_tensorflow_datasets_are_in_their_original_order(monkeypatch):
    """Its own order, from its `core.hashing.Hasher`; the benchmark draws digits by number."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.hashing import Hasher

    def load(*_, split, **__):
        sets = []
        for name in split:
            order = sorted(range(50), key=Hasher(name).hash_key)
            images = np.zeros((50, 28, 28, 1), np.uint8)
            images[:, 0, 0, 0] = order
            sets.append(tf.data.Dataset.from_tensors((images, np.array(order))))
        return sets

    monkeypatch.setattr(tfds, "load", load)
    loaded = digits.mnist_from_tfds()
    for images, labels in (
        (loaded.train_images, loaded.train_labels),
        (loaded.test_images, loaded.test_labels),
    ):
        np.testing.assert_array_equal(images[:, 0, 0], range(50))
        np.testing.assert_array_equal(labels, range(50))


def test_auto_falls_back_soon_without_a_network(monkeypatch):
    monkeypatch.delenv("AIR_MNIST", raising=False)
    monkeypatch.setattr(downloads, "is_prepared", lambda name: False)
    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        port = never_answers.getsockname()[1]
        monkeypatch.setattr(digits, "MNIST_URL", f"http://127.0.0.1:{port}/")
        assert downloads.NETWORK_TIMEOUT < 5
        monkeypatch.setattr(downloads, "NETWORK_TIMEOUT", 0.2)
        assert not downloads.network_reaches(digits.MNIST_URL)
        loaded, line = digits.load_digits("auto", "")
    assert loaded.name == "embedded" and "--mnist" in line


def test_mnist_never_falls_back(monkeypatch):
    def fail():
        raise ConnectionError("no network")

    monkeypatch.delenv("AIR_MNIST", raising=False)
    monkeypatch.setattr(downloads, "is_prepared", lambda name: True)
    monkeypatch.setattr(digits, "mnist_from_tfds", fail)
    with pytest.raises(ValueError, match="--mnist FILE.npz. Received: ConnectionError: no network"):
        digits.load_digits("mnist", "")


@pytest.mark.slow
def test_slow_libraries_are_imported_only_when_used():
    import subprocess

    slow = "{'sklearn.datasets', 'tensorflow_datasets'}"
    script = f"import air_tf.training.loop, sys; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_segments_are_of_the_brightest_digit(digit_splits):
    """The owner's ink alone is at least as bright as any other's, and together they cover the ink."""
    from PIL import Image

    split, source = digit_splits["test"][:30], embedded_digits()
    result = masks.segments(inks(source, "test"), split)
    np.testing.assert_array_equal(result > 0, split.images[..., 0] > 0)
    for segment, count, placements in zip(result, split.counts, split.placements):
        layers = np.zeros((count + 1, 50, 50), int)
        for i, (index, side, top, left) in enumerate(placements[:count], start=1):
            digit = Image.fromarray(source.test_images[index])
            digit = digit.resize((side, side), Image.Resampling.BILINEAR)
            layers[i, top : top + side, left : left + side] = digit
        np.testing.assert_array_equal(segment, layers.argmax(axis=0))


def test_fresh_batches_are_new_images_of_training_digits_and_a_function_of_the_step():
    recipe = MultiDigitRecipe(train_images=1, test_images=1)
    composer = functools.partial(compose, embedded_digits(), recipe)
    from PIL import Image

    take = lambda *args: np.stack([x.numpy() for x in batches(composer, 8, 3, *args)])  # noqa: E731
    whole = take(0, 4)
    np.testing.assert_array_equal(take(2, 4), whole[2:])  # resumed
    assert len(np.unique(whole.reshape(32, -1), axis=0)) >= 20  # empty ones are the same
    digits_of = embedded_digits()
    by_hand = draw_images(
        digits_of.train_images, digits_of.train_labels, 4, recipe, [3, 1, 1], Image.Resampling.BILINEAR
    )
    replicas = [x.numpy() for x in batches(composer, 8, 3, 1, 2, range(2), 2)]
    np.testing.assert_array_equal(replicas[1], by_hand.float_images())


def test_mnist_is_read_from_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("AIR_MNIST", str(tmp_path / "named.npz"))
    for name in ("mnist", "auto"):
        with pytest.raises(ValueError, match=r"named\.npz"):
            digits.load_digits(name, "")
    with pytest.raises(ValueError, match=r"flag\.npz"):
        digits.load_digits("auto", "flag.npz")
    assert digits.load_digits("embedded", "")[0].name == "embedded"


def test_digits_that_find_no_room_are_refused():
    """Five white squares of over 40 / 2.7 pixels a side: two of them always overlap."""
    white, labels = np.full((1, 28, 28), 255, np.uint8), np.zeros(1, int)
    recipe = MultiDigitRecipe(canvas_size=40, digit_counts=(5,))
    with pytest.raises(ValueError, match="5 digits .* 5,000 tries. Received: canvas_size=40, .* 0 of 9"):
        draw_images(white, labels, 9, recipe, 0, 0, show_progress=False)


def test_images_beyond_memory_are_refused_before_they_are_drawn(monkeypatch):
    monkeypatch.setattr(memory, "memory_bytes", lambda: 2**30)
    source = embedded_digits()
    with pytest.raises(
        ValueError, match="1,000,000,000 images of 50 x 50 pixels to fit into the 1.0 GiB"
    ):
        draw_images(source.train_images, source.train_labels, 10**9, RECIPE, 0, 2)
