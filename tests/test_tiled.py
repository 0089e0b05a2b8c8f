"""predict.py --tiles: with a model that finds every light part of a tile, pieces of objects too."""

import io
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps
from scipy import ndimage

from air_tf import AIR, replaced
from air_tf.config import Config
from air_tf.data.own_images import OwnImagesSettings
from air_tf.prediction import tiled
from air_tf.scene import Scene
from air_tf.training.run_record import write_config
from tests.test_predict import Brightness, job, record_of, refusal, result_of, rows_of


class Blobs(Brightness):
    """A model that finds the connected light parts of pictures, so pieces of objects too."""

    most = 16

    def infer_encoded(self, image_bytes):
        boxes = np.zeros((len(image_bytes), self.most, 4), np.float32)
        counts = np.zeros(len(image_bytes), np.int32)
        for i, file in enumerate(image_bytes):
            with Image.open(io.BytesIO(file)) as picture:
                light = np.asarray(picture.convert("L")) > 100
            found = ndimage.find_objects(ndimage.label(light, np.ones((3, 3)))[0])
            counts[i] = len(found)
            for step, (y, x) in enumerate(found):
                boxes[i, step] = y.start, x.start, y.stop, x.stop
            boxes[i] /= np.tile(light.shape, 2)
        if self.stop is not None and len(self.seen) == self.calls:
            raise self.stop
        self.seen.append(len(image_bytes))
        scores = np.full(boxes.shape[:2], 0.9, np.float32)
        return Scene(
            counts=counts, count_probs=np.full((len(counts), self.most + 1), 0.1), boxes=boxes,
            tight_boxes=boxes, scores=scores, reconstructions=0, backgrounds=0, latents={},
        )  # fmt: skip


@pytest.fixture
def scattered(tmp_path, monkeypatch):
    """A current folder with a model and pictures of ellipses, and their boxes (x, y, width, height).

    Two pictures are large, one of them with dark ellipses; one is smaller than a tile; two are broken.
    """
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("pictures").mkdir()
    random, true = np.random.default_rng(0), []
    for number, (width, height) in enumerate([(700, 500), (500, 700), (90, 60)]):
        picture, boxes = Image.new("RGB", (width, height)), []
        draw = ImageDraw.Draw(picture)
        for top in range(2, height - 40, 45):
            for left in range(2, width - 40, 45):
                if random.random() < 0.6:
                    sides = random.integers(15, 40, 2)
                    x, y = (
                        int(start + random.integers(0, 41 - side))
                        for start, side in zip((left, top), sides)
                    )
                    w, h = sides.tolist()
                    draw.ellipse((x, y, x + w - 1, y + h - 1), fill=(220, 200, 180))
                    boxes.append([x, y, w, h])
        picture = ImageOps.invert(picture) if number == 1 else picture
        picture.save(f"pictures/{2 * number}.png")
        true.append(np.array(boxes))
    Path("pictures/1.png").write_text("not a picture")
    Path("pictures/3.jpg").write_bytes(b"\xff\xd8\xffcut")
    return true


TILED = {"tiles": 120, "tile_overlap": 40}


def test_tiles_find_each_object_of_large_pictures_once(scattered, monkeypatch, capsys):
    model = Blobs(Path("model"))
    assert job(monkeypatch, out="out", model=model, batch_size=8, **TILED) == 1
    said = capsys.readouterr()
    assert "3 of 5 pictures" in said.out and "Tiles of 120 x 120 pixels, overlapping by 40." in said.out
    assert "1.png" in said.err and "3.jpg" in said.err and "larger than" not in said.err
    tiles = [9 * 6, 6 * 9, 1]  # of 120 pixels every 80
    assert max(model.seen) == 8 and sum(model.seen) == sum(tiles)
    rows, record = rows_of(Path("out")), record_of(Path("out"))
    assert [row["file"] for row in rows] == [f"pictures/{i}.png" for i in (0, 2, 4)]
    for number, (row, boxes) in enumerate(zip(rows, scattered, strict=True)):
        assert int(row["count"]) == len(boxes) and row["probability"] == ""
        assert float(row["expected_count"]) == pytest.approx(0.9 * len(boxes), abs=1e-3)
        found = np.array([a["bbox"] for a in record["annotations"] if a["image_id"] == number])
        found = sorted(found.round(3).tolist())
        np.testing.assert_allclose(found, sorted(boxes.tolist()), atol=0.01)
    with Image.open("out/pictures/00000-0.png") as picture:
        assert picture.size == (700, 500)
        assert (np.ptp(np.asarray(picture).astype(int), axis=-1) > 50).any()


def test_large_drawings_are_shrunk_and_small_tiles_are_named(scattered, monkeypatch, capsys):
    monkeypatch.setattr(tiled, "DRAWN", 350)
    assert (
        job(monkeypatch, images="pictures/0.png", out="out", model=Blobs(Path("model")), tiles=60) == 0
    )
    said = capsys.readouterr()
    assert "overlapping by 20." in said.out  # a third
    assert "0.png: " in said.err and "larger than the overlap of 20 pixels" in said.err
    with Image.open("out/pictures/00000-0.png") as picture:
        assert picture.size == (350, 250)


def test_a_tiled_job_that_is_stopped_keeps_whole_pictures(scattered, monkeypatch, capsys):
    assert job(monkeypatch, out="whole", model=Blobs(Path("model")), batch_size=8, **TILED) == 1
    stopped = Blobs(Path("model"), KeyboardInterrupt(), 10)  # in the second picture that can be read
    with pytest.raises(KeyboardInterrupt):
        job(monkeypatch, out="out", model=stopped, batch_size=8, **TILED)
    assert "2 of 5 pictures are done" in capsys.readouterr().err
    rest = Blobs(Path("model"))
    assert job(monkeypatch, out="out", model=rest, batch_size=8, **TILED) == 1
    assert "Going on: 2 of 5" in capsys.readouterr().out and sum(rest.seen) == 54 + 1
    assert result_of(Path("out")) == result_of(Path("whole"))
    again = Blobs(Path("model"), KeyboardInterrupt(), 10)
    with pytest.raises(KeyboardInterrupt):
        job(monkeypatch, out="out", model=again, batch_size=8, **TILED)
    job(monkeypatch, out="out", model=Blobs(Path("model")), batch_size=8, tiles=120, tile_overlap=50)
    assert "Starting anew" in capsys.readouterr().out


def test_pictures_too_large_for_tiles_are_skipped(scattered, monkeypatch, capsys):
    monkeypatch.setattr(tiled, "LARGEST_IN_PARTS", 100_000)
    monkeypatch.setattr(tiled, "MOST_TILES", 10)
    shutil.copy("pictures/0.png", "pictures/large.png")
    Image.new("RGB", (400, 200)).save("pictures/many.png")
    assert job(monkeypatch, out="out", model=Blobs(Path("model")), tiles=60, tile_overlap=30) == 1
    said = capsys.readouterr().err
    assert "large.png: 700 x 500 pixels, over 100,000" in said
    assert "Expected at most 10 tiles. Received: pictures/many.png, which takes 78" in said
    assert [row["file"] for row in rows_of(Path("out"))] == ["pictures/4.png"]


def test_the_overlap_follows_the_models_objects(small_config, capsys):
    for shape in ((12, 12, 1), (24, 12, 1), (12, 24, 3)):
        config = replaced(small_config, image_shape=shape, scale_prior=(4.0, 0.2))
        model = AIR(config)
        share = (max(shape) - 1) / 4 / 12  # of the smaller side
        assert tiled.object_share(model) == pytest.approx(share, abs=1e-5)
        assert tiled.Tiling.of(model, 100, 0) == (100, math.ceil(100 * share), 1.0)
        assert tiled.Tiling.of(model, 100, 60) == (100, 60, 1.0)
        assert not capsys.readouterr().err
        assert tiled.Tiling.of(model, 100, 10) == (100, 10, 1.0)
        assert f"usually have {math.ceil(100 * share)} pixels" in capsys.readouterr().err
    with pytest.raises(
        ValueError, match="at most 75% of a tile's side. Received: one with objects of 76%"
    ):
        tiled.Tiling.of(
            AIR(replaced(small_config, image_shape=(12, 12, 1), scale_prior=(1.2, 0.1))), 99, 0
        )


def test_tiles_smaller_than_the_objects_of_a_run_are_refused(tmp_path, monkeypatch, capsys):
    """Before the model is loaded: the folder has no checkpoint."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (90, 90)).save("a.png")
    Path("run").mkdir()
    config = Config(data=OwnImagesSettings(images="a.png", object_size=26.0, crop=78))
    write_config(config, "", Path("run"))
    given = {"model": "run", "out": "out"}
    expected = "Expected tiles no smaller than an object, of about 26 pixels. Received: tiles=20."
    assert refusal(capsys, "a.png", tiles=20, **given).endswith(expected)
    assert not Path("out").exists()
    assert "with a checkpoint" in refusal(capsys, "a.png", tiles=26, **given)  # they are large enough
    config = replaced(config, object_size=0.0, crop=99, scale_prior=(3.0, 0.2))  # 99 / 3 / 1.1
    write_config(config, "", Path("run"))
    assert "about 30 pixels" in refusal(capsys, "a.png", tiles=29, **given)
    assert "with a checkpoint" in refusal(capsys, "a.png", tiles=30, **given)
