"""Zip and npz files of MNIST and Omniglot that are not what they should be."""

import os
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from air_tf.data import archives, digits, omniglot
from air_tf.data.archives import open_zip, read_npz
from air_tf.data.digits import mnist_from_file
from air_tf.data.omniglot import omniglot_files


@pytest.fixture
def mnist_file(tmp_path):
    """Writes an npz in the Keras layout, with some arrays changed."""

    def write(**changes):
        random = np.random.default_rng(0)
        arrays = {
            "x_train": random.integers(0, 256, (20, 28, 28), np.uint8),
            "y_train": np.arange(20) % 10,
            "x_test": random.integers(0, 256, (10, 28, 28), np.uint8),
            "y_test": np.arange(10),
        } | changes
        path = tmp_path / "mnist.npz"
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
        return str(path)

    return write


def test_mnist_from_file(mnist_file):
    loaded = mnist_from_file(mnist_file())
    assert loaded.train_images.shape == (20, 28, 28) and loaded.test_labels.shape == (10,)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"y_test": None}, r"mnist\.npz: no y_test"),
        ({"x_train": np.zeros((20, 8, 8), np.uint8)}, r"shape=\(20, 8, 8\)"),
        ({"x_train": np.zeros((20, 28, 28), np.float32)}, "dtype=float32"),
        ({"x_test": np.zeros((0, 28, 28), np.uint8)}, r"shape=\(0, 28, 28\)"),
        ({"y_train": np.arange(3)}, r"y_train is not of shape \(20,\).*shape=\(3,\)"),
        ({"y_train": np.ones(20)}, "with integers.*float64"),
    ],
)
def test_mnist_file_is_refused(mnist_file, changes, message):
    with pytest.raises(ValueError, match=message):
        mnist_from_file(mnist_file(**changes))


def test_what_is_no_mnist_file_is_refused(tmp_path):
    text = tmp_path / "text.npz"
    text.write_text("no npz")
    for path in (tmp_path / "missing.npz", tmp_path, text):
        with pytest.raises(ValueError, match=f"Keras layout.*Received: {path}"):
            mnist_from_file(str(path))


@pytest.fixture
def nothing_is_unpacked(monkeypatch):
    """Fails a test that reads an array."""
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("unpacked"))


def test_large_arrays_are_refused_before_they_are_unpacked(mnist_file, monkeypatch, nothing_is_unpacked):
    monkeypatch.setattr(digits, "MOST_MNIST_BYTES", 15_000_000)
    zeros = np.zeros((20_000, 28, 28), np.uint8)  # which a zip packs to a thousandth
    path = mnist_file(x_train=zeros, y_train=np.zeros(20_000, np.uint8))
    with pytest.raises(ValueError, match=r"arrays of 15,\d+,\d+ bytes in all, over 15,000,000"):
        mnist_from_file(path)


def test_a_header_that_promises_other_data_is_refused(tmp_path, nothing_is_unpacked):
    """Where NumPy would make room for what the header says."""

    def npy(shape, descr="|u1", version=b"\x01\x00", length="<H"):
        header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
        return b"\x93NUMPY" + version + struct.pack(length, len(header)) + header + bytes(24)

    members = {
        "x of shape": npy((10**15,)),
        "negative": npy((-3, -8)),
        "objects": npy((3,), "|O"),
        "cut": npy((25,)),
        "version": npy((24,), version=b"\x02\x00", length="<I"),
        "magic": b"no array",
        "empty": b"",
    }
    for name, content in members.items():
        path = tmp_path / f"{name}.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("x.npy", content)
        with pytest.raises(ValueError):
            read_npz(path, lambda headers: [*headers])


def test_no_pickle_is_loaded(mnist_file, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    trap = np.empty(20, object)
    trap[:] = [Trap() for _ in range(20)]
    with pytest.raises(ValueError, match="Keras layout"):
        mnist_from_file(mnist_file(y_train=trap))
    assert not (tmp_path / "sprung").exists()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(ValueError, match=r"pipe\.npz: not a regular file"):
        mnist_from_file(str(tmp_path / "pipe.npz"))
    os.mkfifo(tmp_path / "pipe.zip")
    assert not list(omniglot_files(tmp_path))


def test_lists_of_too_many_members_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as file:
        for i in range(200):
            file.writestr(f"{i}.npy", b"")
    with pytest.raises(ValueError, match="200 arrays, over 100"):
        read_npz(path, lambda headers: [])
    monkeypatch.setattr(archives, "MOST_DIRECTORY_BYTES", 200 * 46)
    with pytest.raises(zipfile.BadZipFile, match="bytes of file names"), open_zip(path):
        pass


def png():
    path = "drawing.png"
    Image.new("1", (9, 9)).save(path)
    with open(path, "rb") as file:
        return file.read()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("large", r"1\.png of over 1,048,576 bytes"),
        ("encrypted", "encrypted"),
        ("lzma", "unusual method"),
        ("bzip2", "unusual method"),
        ("damaged", "Bad CRC-32"),
        ("lies", "Bad CRC-32"),
    ],
)
def test_zips_of_odd_drawings_are_refused(tmp_path, monkeypatch, kind, message):
    monkeypatch.chdir(tmp_path)
    methods = {"lzma": zipfile.ZIP_LZMA, "bzip2": zipfile.ZIP_BZIP2, "large": zipfile.ZIP_DEFLATED}
    path, name = tmp_path / "odd.zip", "images_background/a/b/1.png"
    with zipfile.ZipFile(path, "w", methods.get(kind, zipfile.ZIP_STORED)) as file:
        file.writestr(name, bytes(3 * omniglot.MOST_DRAWING_BYTES) if kind == "large" else png())
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\1\2")
    if kind == "encrypted":
        content[6] |= 1
        content[entry + 8] |= 1
    if kind == "damaged":
        content[entry - 1] ^= 1
    if kind == "lies":  # the declared size, of which zipfile never reads more
        struct.pack_into("<I", content, entry + 24, 30)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(omniglot_files(path))


def test_names_that_lead_out_of_a_zip_lead_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zips").mkdir()
    with zipfile.ZipFile(tmp_path / "zips" / "out.zip", "w") as file:
        file.writestr("../../images_background/../out/1.png", png())
    assert len(list(omniglot_files(tmp_path / "zips"))) == 1
    assert {path.name for path in tmp_path.rglob("*")} == {"zips", "out.zip", "drawing.png"}
