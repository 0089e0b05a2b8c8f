"""Images on disk: read, made anew, or done without."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from air_tf import memory, replaced
from air_tf.data.cache import cached, contents, fingerprint
from air_tf.data.multi_mnist import MultiMNISTSettings

NAMES, SHAPE = ("train", "test"), (50, 50, 1)


def test_cache_is_read_and_a_damaged_one_is_made_anew(tmp_path, digit_splits, capsys):
    path, made = tmp_path / "folder" / "set.npz", []

    def make():
        made.append(1)
        return digit_splits

    def check():
        splits = cached(path, make, NAMES, SHAPE)
        assert set(splits) == set(digit_splits)
        for name, split in splits.items():
            for field in dataclasses.fields(split):
                expected = getattr(digit_splits[name], field.name)
                np.testing.assert_array_equal(getattr(split, field.name), expected)

    check()
    check()
    assert len(made) == 1
    whole = path.read_bytes()
    damages = {
        "truncated": whole[: len(whole) // 2],
        "flipped": whole[:200] + bytes([whole[200] ^ 255]) + whole[201:],
        "empty": b"",
    }
    for number, damaged in enumerate(damages.values(), start=2):
        path.write_bytes(damaged)
        check()
        assert len(made) == number
        assert "is damaged" in capsys.readouterr().err
    assert [file.name for file in path.parent.iterdir()] == ["set.npz"]


def test_without_room_to_write_the_images_are_used_all_the_same(
    tmp_path, digit_splits, monkeypatch, capsys
):
    def fail(file, **_):
        file.write(b"the first part")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    assert cached(tmp_path / "set.npz", lambda: digit_splits, NAMES, SHAPE) is digit_splits
    assert "cannot be written (No space left on device)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, digit_splits, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "set.npz").mkdir()
    for path in (tmp_path / "file" / "folder" / "set.npz", tmp_path / "set.npz"):
        assert cached(path, lambda: digit_splits, NAMES, SHAPE) is digit_splits
        assert f"{path} cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"train": None},
        {"test": None},
        {"train/boxes": None},
        {"test/images": np.zeros((0, 50, 50, 1), np.uint8)},
        {"test/counts": np.zeros(99, np.int32)},
        {"test/counts": np.zeros(100, np.float32)},
        {"train/boxes": np.zeros((400, 2, 5), np.float32)},
        {"train/labels": np.zeros((400, 3), np.int32)},
        {"train/labels": np.full((400, 2), None)},
        {"train/images": np.zeros((400, 50, 50, 3), np.uint8)},
        {"train/images": np.zeros((400, 50, 50), np.uint8)},
    ],
)
def test_a_whole_cache_of_something_else_is_made_anew(tmp_path, digit_splits, capsys, changes):
    path = tmp_path / "set.npz"
    cached(path, lambda: digit_splits, NAMES, SHAPE)
    with np.load(path) as file:
        arrays = dict(file)
    for change, value in changes.items():
        for name in [name for name in arrays if name.startswith(change)]:
            if value is None:
                del arrays[name]
            else:
                arrays[name] = value
    np.savez(path, **arrays)
    assert cached(path, lambda: digit_splits, NAMES, SHAPE) is digit_splits
    assert "is damaged" in capsys.readouterr().err
    cached(path, lambda: pytest.fail("not written anew"), NAMES, SHAPE)


def test_a_cache_larger_than_memory_is_not_read(tmp_path, digit_splits, capsys, monkeypatch):
    path = tmp_path / "set.npz"
    cached(path, lambda: digit_splits, NAMES, SHAPE)
    monkeypatch.setattr(memory, "memory_bytes", lambda: 500 * 2500)
    cached(path, lambda: digit_splits, NAMES, SHAPE)
    assert "a cached data set to fit into" in capsys.readouterr().err


def test_files_are_told_apart_by_what_is_in_them(tmp_path):
    def fingerprint_of(folder, names, text=b"abc"):
        for name in names:
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_bytes(text)
            os.utime(tmp_path / folder / name, (1, 1))
        return fingerprint(contents([tmp_path / folder / name for name in names]))

    odd = os.fsdecode(b"\xff")  # a name that is not UTF-8
    first = fingerprint_of("a", ["one", f"in/{odd}"])
    assert fingerprint_of("b", ["one", f"in/{odd}"]) == first
    assert fingerprint_of("c", ["one", f"in/{odd}"], b"abd") != first
    assert fingerprint_of("d", ["one", f"on/{odd}"]) != first
    assert fingerprint_of("e", ["one"]) != first
    (tmp_path / "a" / "one").unlink()
    assert fingerprint(contents([tmp_path / "a" / "one"])) != first  # whoever reads it says why not


def test_without_a_home_folder_images_are_not_kept(monkeypatch, capsys):
    def no_home(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    config = MultiMNISTSettings(digits="embedded", train_images=3, test_images=2)
    assert len(config.load().splits["train"]) == 3
    assert "whose home folder is unknown. The images are not kept." in capsys.readouterr().err
    with pytest.raises(ValueError, match="Expected a path. Received: ~nobody/x"):
        replaced(config, cache_dir="~nobody/x").load()


def test_a_cache_folder_that_is_a_file_is_refused(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match=f"Received: {file}, which is a file"):
        cached(file / "set.npz", dict, NAMES, SHAPE)
