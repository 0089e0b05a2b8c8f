"""predict.py: with the model that comes with the repository, and with one that measures brightness."""

import csv
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from air_tf import cli, folders
from air_tf.commands import predict
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.image_files import as_png
from air_tf.prediction.job import LARGEST_BATCH, PredictConfig, fingerprint
from air_tf.scene import Scene
from air_tf.serving.served import PRETRAINED

COLUMNS = ["file", "count", "probability", "expected_count"]


@pytest.fixture(scope="module")
def split(cache_dir):
    settings = {"digits": "embedded", "train_images": 1, "test_images": 12}
    return MultiMNISTSettings(cache_dir=str(cache_dir), **settings).load().splits["test"]


@pytest.fixture(scope="module")
def folder(split, tmp_path_factory):
    """Twelve images as files, and two that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, image in enumerate(split.images):
        Image.fromarray(image[..., 0]).resize((100, 100)).save(folder / f"{i:02}.png")
    (folder / "text.png").write_text("not a picture")
    whole = as_png(np.repeat(split.images[0], 3, axis=-1))
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def rows_of(out):
    with open(out / "predictions.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def record_of(out):
    """predictions.json, by a reader that knows no NaN."""

    def fail(name):
        pytest.fail(f"{name} is not JSON")

    return json.loads((out / "predictions.json").read_bytes().decode(), parse_constant=fail)


def test_files_become_a_table_boxes_and_pictures(folder, split, tmp_path, capsys):
    out = tmp_path / "out"
    config = PredictConfig((f"{folder}/*",), str(PRETRAINED), str(out), batch_size=5)
    assert predict.main(config) == 1
    said = capsys.readouterr()
    assert "text.png" in said.err and "cut.jpg" in said.err
    assert "12 of 14 pictures" in said.out
    rows = rows_of(out)
    assert list(rows[0]) == COLUMNS
    assert [row["file"] for row in rows] == [str(folder / f"{i:02}.png") for i in range(12)]
    counts = np.array([int(row["count"]) for row in rows])
    assert (counts == split.counts).sum() >= 11
    record = record_of(out)
    assert [image["file_name"] for image in record["images"]] == [row["file"] for row in rows]
    assert [a["id"] for a in record["annotations"]] == list(range(1, counts.sum() + 1))
    for i, (count, true_boxes) in enumerate(zip(counts, split.boxes)):
        found = [a["bbox"] for a in record["annotations"] if a["image_id"] == i]
        assert len(found) == count
        if count == split.counts[i] == 1:  # in pixels of the file, twice the size
            x, y, width, height = found[0]
            np.testing.assert_allclose([y, x, y + height, x + width], true_boxes[0] * 100, atol=8)
        with Image.open(out / "pictures" / f"{i:05}-{i:02}.png") as picture:
            assert picture.size == (100, 100)
            coloured = (np.ptp(np.asarray(picture).astype(int), axis=-1) > 50).any()
        assert coloured == (count > 0)


def test_dark_ink_on_white_is_turned_round(split, tmp_path):
    [one, *_] = np.flatnonzero(split.counts == 1)
    Image.fromarray(255 - split.images[one, ..., 0]).save(tmp_path / "paper.png")
    counts = {}
    for invert in ("auto", "yes", "no"):
        place = {"model": str(PRETRAINED), "out": str(tmp_path / invert)}
        config = PredictConfig((str(tmp_path / "paper.png"),), **place, invert=invert, pictures=False)
        assert predict.main(config) == 0
        counts[invert] = [row["count"] for row in rows_of(tmp_path / invert)]
    assert counts["auto"] == counts["yes"] == ["1"]
    assert counts["no"] != ["1"]


class Brightness:
    """A model that finds one object in each picture, as probable as the picture is bright.

    Args:
        folder: which stands for the model's files.
        stop: what the call after `calls` raises, if anything.
    """

    image_shape = (8, 8, 1)

    def __init__(self, folder, stop=None, calls=0):
        self.folder, self.stop, self.calls, self.seen = folder, stop, calls, []

    def prepare(self, image_bytes):
        return np.stack([self.pixels(file) for file in image_bytes])

    def pixels(self, file):
        with Image.open(io.BytesIO(file)) as picture:
            return np.asarray(picture.convert("L").resize((8, 8)), np.float32)[..., None] / 255

    def infer(self, images):
        return Scene(None, None, None, None, None, reconstructions=0, backgrounds=0, latents={})

    def infer_encoded(self, image_bytes):
        if self.stop is not None and len(self.seen) == self.calls:
            raise self.stop
        self.seen.append(len(image_bytes))
        bright = self.prepare(image_bytes).mean(axis=(1, 2, 3))
        boxes = (
            np.tile(np.float32([0.25, 0.25, 0.75, 0.75]), (len(bright), 1, 1)) * bright[:, None, None]
        )
        return Scene(
            counts=np.ones(len(bright), np.int32), count_probs=np.stack([1 - bright, bright], axis=1),
            boxes=boxes, tight_boxes=boxes / 2, scores=bright[:, None], reconstructions=0, backgrounds=0,
            latents={},
        )  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A current folder with ten pictures of different brightness, one of them broken, and a model."""
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model/weights").write_text("some")
    Path("pictures").mkdir()
    for i in range(10):
        Image.new("RGB", (20, 10), (20 * i,) * 3).save(f"pictures/{i}.png")
    Path("pictures/1.png").write_text("not a picture")
    return tmp_path


def job(monkeypatch, images="pictures", model=None, **flags):
    """What a job returns; its model is `Brightness`."""
    model = model or Brightness(Path("model"))
    monkeypatch.setattr(predict, "load", lambda place: model)
    return predict.main(PredictConfig((images,), model="model", **{"batch_size": 2, **flags}))


def result_of(out):
    """All that a result holds, by name; nothing is unfinished."""
    assert not (out / folders.OWN / folders.UNFINISHED).exists()
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {n: f.read_bytes() for n, f in files.items() if not n.startswith(folders.OWN)}


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("calls", [1, 3, 4])
@pytest.mark.parametrize("stop", [KeyboardInterrupt(), FULL, MemoryError()], ids=repr)
def test_a_job_that_is_stopped_goes_on(place, monkeypatch, capsys, calls, stop):
    assert job(monkeypatch, out="whole") == 1
    stopped = Brightness(Path("model"), stop, calls)
    with pytest.raises(type(stop)):
        job(monkeypatch, out="out", model=stopped)
    assert f"{2 * calls} of 10 pictures are done" in capsys.readouterr().err
    assert not Path("out/predictions.csv").exists()

    unfinished = Path("out") / folders.OWN / folders.UNFINISHED
    with open(unfinished / folders.PROGRESS, "a") as file:  # a batch that was cut short
        file.write('{"file": "pictures/2.png", "skipped": true}\n{"file": "pictures/')
    (unfinished / folders.RESULT / "pictures" / f"{2 * calls - 1:05}-{2 * calls}.png").write_text("half")
    rest = Brightness(Path("model"))
    assert job(monkeypatch, out="out", model=rest) == 1
    said = capsys.readouterr()
    assert f"Going on: {2 * calls} of 10 pictures are done." in said.out and "9 of 10" in said.out
    assert sum(rest.seen) == 10 - 2 * calls
    assert result_of(Path("out")) == result_of(Path("whole"))
    assert job(monkeypatch, out="out") == 1  # and a finished job begins again
    assert "Going on" not in capsys.readouterr().out
    assert result_of(Path("out")) == result_of(Path("whole"))


def touch(path):
    os.utime(path, ns=(0, 0))


@pytest.mark.parametrize(
    "change, flags",
    [
        (lambda: Path("model/weights").write_text("more"), {}),
        (lambda: touch("pictures/0.png"), {}),
        (lambda: shutil.copy("pictures/3.png", "pictures/0.png"), {}),
        (lambda: shutil.copy("pictures/3.png", "pictures/00.png"), {}),
        (lambda: Path("pictures/9.png").unlink(), {}),
        (lambda: None, {"boxes": "window"}),
        (lambda: None, {"invert": "yes"}),
        (lambda: None, {"pictures": False}),
        (lambda: None, {"batch_size": 4}),
    ],
    ids=["model", "time", "contents", "added", "removed", "boxes", "invert", "pictures", "batch"],
)
def test_a_job_does_not_go_on_with_anothers_predictions(place, monkeypatch, capsys, change, flags):
    with pytest.raises(KeyboardInterrupt):
        job(monkeypatch, out="out", model=Brightness(Path("model"), KeyboardInterrupt(), 3))
    change()
    job(monkeypatch, out="out", **flags)
    said = capsys.readouterr().out
    assert "Starting anew" in said and "Going on" not in said
    job(monkeypatch, out="whole", **flags)
    assert result_of(Path("out")) == result_of(Path("whole"))


def test_a_finished_job_that_cannot_be_put_in_place_is_not_lost(place, monkeypatch, capsys):
    assert job(monkeypatch, out="whole") == 1

    class Meanwhile(Brightness):
        def infer_encoded(self, image_bytes):
            Path("out/thesis.tex").write_text("all of it")
            return super().infer_encoded(image_bytes)

    with pytest.raises(ValueError, match="with thesis.tex in it.* new result is whole, and kept in"):
        job(monkeypatch, out="out", model=Meanwhile(Path("model")))
    Path("out/thesis.tex").rename("thesis.tex")
    none = Brightness(Path("model"))
    assert job(monkeypatch, out="out", model=none) == 1
    assert not none.seen and "Going on: 10 of 10" in capsys.readouterr().out
    assert result_of(Path("out")) == result_of(Path("whole"))


def test_a_file_with_several_names_is_counted_once(place, monkeypatch):
    Path("link.png").symlink_to("pictures/2.png")
    monkeypatch.setattr(predict, "load", lambda place: Brightness(Path("model")))
    predict.main(PredictConfig(("pictures/2.png", "pictures", "link.png"), model="model", out="out"))
    files = [row["file"] for row in rows_of(Path("out"))]
    assert files == [f"pictures/{i}.png" for i in (2, 0, 3, 4, 5, 6, 7, 8, 9)]


NAMES = [
    b"caf\xe9.png", b"caf\xc3\xa9.png", b"two\nlines.png", b"back\rspace.png", b"comma,\"quote\".png",
    b"=HYPERLINK(1).png", b"+1.png", b"-1.png", b"@SUM(1).png", b"\t=1.png", b"\r=1.png", b"'=1.png",
    b"a" * 251 + b".png", "é".encode() * 125 + b".png", b"\xff" * 251 + b".png", b"\x1b[31m.png",
    b".png", b" =1.png", "\u00a0=1.png".encode(),
]  # fmt: skip


def test_every_file_name_is_taken_and_can_be_found_again(place, monkeypatch):
    shutil.rmtree("pictures")
    for i, name in enumerate(NAMES):
        Image.new("L", (9, 9), 10 * i).save(os.fsdecode(name), "png")
    monkeypatch.setattr(predict, "find_pictures", lambda pattern: [Path(os.fsdecode(n)) for n in NAMES])
    assert job(monkeypatch, out="out") == 0
    rows, record = rows_of(Path("out")), record_of(Path("out"))
    for name, row, image in zip(NAMES, rows, record["images"], strict=True):
        assert not row["file"].startswith(tuple("=+-@\t\r"))
        assert row["file"].removeprefix("'").isprintable() or b"\xff" not in name
        text = image["file_name"]
        quoted = row["file"].startswith("'")
        assert row["file"] == "'" * quoted + text and quoted == (
            text[:1].isspace() or name[:1] in b"=+-@'"
        )
        assert text.encode().replace(b"\\xe9", b"\xe9").replace(b"\\xff", b"\xff") == name
    drawn = sorted(Path("out/pictures").iterdir())
    assert [path.name[:6] for path in drawn] == [f"{i:05}-" for i in range(len(NAMES))]
    for i, path in enumerate(drawn):
        with Image.open(path) as picture:
            assert picture.getpixel((8, 8)) == (10 * i,) * 3
        assert path.name.isprintable() and len(os.fsencode(path.name)) <= 255
    assert drawn[5].name == "00005-=HYPERLINK(1).png"


def test_what_is_not_a_number_becomes_null(place, monkeypatch):
    class Broken(Brightness):
        def infer_encoded(self, image_bytes):
            scene = super().infer_encoded(image_bytes)
            infinite = np.full_like(scene.scores, np.inf)
            return scene._replace(
                scores=infinite, tight_boxes=scene.boxes * np.nan, count_probs=scene.count_probs * np.nan
            )

    assert job(monkeypatch, out="out", model=Broken(Path("model"))) == 1
    for annotation in record_of(Path("out"))["annotations"]:
        assert annotation["bbox"] == [None] * 4 and annotation["score"] is annotation["area"] is None
    assert {row["probability"] for row in rows_of(Path("out"))} == {""}


def refusal(capsys, *images, **flags):
    """The line on the terminal of a prediction that is refused."""
    flags = {name: str(flag) if isinstance(flag, Path) else flag for name, flag in flags.items()}
    config = PredictConfig(tuple(map(str, images)), **flags)
    assert cli.run(lambda: predict.main(config)) == cli.EXIT_BAD_INPUT
    return capsys.readouterr().err.splitlines()[-1]


def test_nothing_is_written_where_nothing_can_be_read(folder, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    given = {"model": PRETRAINED, "out": out}
    assert "that cannot" in refusal(capsys, folder / "text.png", **given)
    assert "names none" in refusal(capsys, tmp_path, **given)
    assert "Expected picture files" in refusal(capsys, **given)
    for size in (0, -1, LARGEST_BATCH + 1, 10**9):
        assert f"batch_size={size}." in refusal(capsys, folder, batch_size=size, **given)
    for tiles, overlap in ((-1, 0), (7, 0), (10**6, 0), (0, 9), (50, -1), (50, 50), (50, 10**9)):
        said = refusal(capsys, folder, tiles=tiles, tile_overlap=overlap, **given)
        assert "Expected" in said and f"tiles={tiles}" in said
    for model in (tmp_path, tmp_path / "none", folder / "text.png", "\0"):
        refusal(capsys, folder, model=model, out=out)
    assert not out.parent.exists()


def test_only_files_are_read(place, monkeypatch, capsys):
    Path("pictures/folder.png").mkdir()
    os.mkfifo("pictures/pipe.png")
    Path("pictures/loop.png").symlink_to("loop.png")
    assert job(monkeypatch, out="out") == 1
    assert "9 of 10 pictures" in capsys.readouterr().out
    given = {"model": PRETRAINED, "out": "other"}
    for name in ("pipe", "folder", "loop"):
        assert "names none" in refusal(capsys, f"pictures/{name}.png", **given)


def test_the_users_folders_are_left_alone(folder, tmp_path, capsys):
    album = shutil.copytree(folder, tmp_path / "album" / "pictures")
    (album.parent / "predictions.csv").write_text("mine")
    for out in (album.parent, album, tmp_path):
        assert "in it, which was added or changed" in refusal(capsys, album, model=PRETRAINED, out=out)
    assert (album.parent / "predictions.csv").read_text() == "mine"
    assert len(list(album.iterdir())) == len(list(folder.iterdir()))


def test_an_earlier_result_is_not_replaced_by_one_of_its_own_pictures(place, monkeypatch, capsys):
    assert job(monkeypatch, out="out") == 1
    before = result_of(Path("out"))
    assert "outside of out" in refusal(capsys, "out/pictures", model=PRETRAINED, out="out")
    assert result_of(Path("out")) == before


def test_models_with_other_weights_have_other_fingerprints(small_model):
    before = fingerprint(small_model)
    assert fingerprint(small_model) == before
    small_model.weights[3].assign_add(1e-6 + 0 * small_model.weights[3])
    assert fingerprint(small_model) != before


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on(folder, run_script, tmp_path, start_script):
    many = tmp_path / "many"
    many.mkdir()
    for i in range(60):
        shutil.copy2(folder / f"{i % 12:02}.png", many / f"{i:03}.png")
    flags = [many, "--model", PRETRAINED, "--batch-size", 3, "--out"]
    assert run_script("predict.py", *flags, tmp_path / "whole").returncode == 0
    for number in (signal.SIGKILL, signal.SIGINT):
        out = tmp_path / number.name
        progress = out / folders.OWN / folders.UNFINISHED / folders.PROGRESS
        process = start_script("predict.py", *flags, out, stderr=subprocess.PIPE)
        while not progress.exists() or progress.read_bytes().count(b"\n") < 3:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        process.communicate()
        assert process.returncode
        done = run_script("predict.py", *flags, out)
        assert done.returncode == 0 and "Going on: " in done.stdout
        assert result_of(out) == result_of(tmp_path / "whole")
