"""Labels beside one's own pictures: what is wrong with them is refused with its place."""

import json
import math
import os

import numpy as np
import pydantic
import pytest

from air_tf import memory
from air_tf.data import labels
from air_tf.data.labels import (
    BOXES,
    COUNTS,
    MOST_OBJECTS,
    Coco,
    CocoAnnotation,
    label_files,
    read_boxes,
    read_counts,
    read_labels,
)
from air_tf.data.split import UNKNOWN


@pytest.mark.parametrize(
    ("content", "counts"),
    [
        (b"file,count\na.png,3\n", {"a.png": 3}),
        (b"\xef\xbb\xbffile,count\r\na.png,3\r\n\r\nb.png,0", {"a.png": 3, "b.png": 0}),  # Excel's
        (b'who,count , file\nme, 2 ,"a, b.png"\n', {"a, b.png": 2}),
        (b"file,count\na.png,%d\n" % MOST_OBJECTS, {"a.png": MOST_OBJECTS}),
        (b"file,count\n", {}),
    ],
)
def test_counts_are_read(tmp_path, content, counts):
    (tmp_path / COUNTS).write_bytes(content)
    assert read_counts(tmp_path / COUNTS) == {tmp_path / name: count for name, count in counts.items()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: no header"),
        (b"a.png,3\nb.png,2\n", "line 1: a.png,3"),
        (b"file;count\na.png;3\n", "line 1: file;count"),
        (b"file,count\na.png,3\n\na.png,3\n", "line 4: a second count of a.png"),
        (b"file,count\na.png,2000000000\n", "line 2: the count '2000000000'"),
        (b"file,count\na.png,1001\n", "line 2: 1001 objects, over 1,000"),
        (b"file,count\na.png,-1\n", "line 2: the count '-1'"),
        (b"file,count\na.png,nan\n", "line 2: the count 'nan'"),
        (b"file,count\na.png,1_0\n", "line 2: the count '1_0'"),
        ("file,count\na.png,\u0663\n".encode(), "line 2: the count "),  # Arabic digits
        (b"file,count\na.png," + b"9" * 5000, "line 2: the count '99999999999999999999'"),
        (b"file,count\na.png\n", "line 2: 1 of 2 columns"),
        (b"file,count\na.png,1\n\xe9.png,2\n", "line 3: text that is not UTF-8"),
        ("file,count\na.png,1\n".encode("utf-16"), "line 1: text that is not UTF-8"),
        ("file,count\na.png,1\n".encode("utf-16-le"), r"line 1: f\\x00i\\x00l"),
        (b"file,count\n" + b"a" * 200_000 + b",1\n", "line 2: field larger than field limit"),
        (b'file,count\n"a.png,1\nb.png,2\n', "line 3: unexpected end of data"),
        (b"\0" * 300, "line 1: "),
    ],
)
def test_counts_that_are_wrong_are_refused_with_their_line(tmp_path, content, message):
    (tmp_path / COUNTS).write_bytes(content)
    with pytest.raises(ValueError, match=f"Expected columns file,count .* in {message}") as caught:
        read_counts(tmp_path / COUNTS)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


def coco(*boxes, **fields):
    images = [{"id": 1, "file_name": "a.png", "width": 40, "height": 20, "license": 3}]
    annotations = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": box, "iscrowd": 0, "segmentation": [[1, 2]]}
        for i, box in enumerate(boxes)
    ]
    return {
        "info": {"year": 2017},
        "images": images,
        "annotations": annotations,
        "licenses": [],
    } | fields


def image(name, number):
    return {"id": number, "file_name": name}


def test_boxes_are_read(tmp_path):
    """COCO's other fields are ignored."""
    (tmp_path / BOXES).write_text(json.dumps(coco([1, 2.5, 3, 4], [0, 0, 0.5, 1e-3])))
    assert read_boxes(tmp_path / BOXES) == {tmp_path / "a.png": [(1, 2.5, 3, 4), (0, 0, 0.5, 1e-3)]}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (coco([1, 2, 3, 4], [1, 2, math.nan, 4]), r"annotations\.1\.bbox\.2: .*finite"),
        (coco([math.inf, 2, 3, 4]), r"annotations\.0\.bbox\.0: "),
        (coco([1e300, 2, 3, 4]), r"annotations\.0\.bbox\.0: "),
        (coco([1, 2, -3, 4]), r"annotations\.0\.bbox\.2: .*greater than or equal to 0"),
        (coco([1, 2, 3]), r"annotations\.0\.bbox"),
        (coco([1, 2, 3, "x"]), r"annotations\.0\.bbox\.3"),
        (coco(None), r"annotations\.0\.bbox"),
        (coco(images=[image("a.png", 1), image("b.png", 1)]), r"images\.1: a second b\.png or id 1"),
        (coco(images=[image("a.png", 1), image("a.png", 2)]), r"images\.1: a second a\.png or id 2"),
        (coco(images=[image("a.png", None)]), r"images\.0\.id"),
        (coco(images=[image(["a.png"], 1)]), r"images\.0\.file_name"),
        (coco([1, 2, 3, 4], images=[]), r"annotations\.0\.image_id: 1, which no image has"),
        (
            coco(*[[1, 2, 3, 4]] * (MOST_OBJECTS + 1)),
            r"annotations\.1000\.image_id: more than 1,000 boxes",
        ),
        (coco(images={}), "images: "),
        ({"images": []}, "annotations: Field required"),
        ([], "an object"),
        (None, "an object"),
    ],
)
def test_boxes_that_are_wrong_are_refused_with_their_place(tmp_path, record, message):
    (tmp_path / BOXES).write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"Expected COCO's images .*Received: .*{message}") as caught:
        read_boxes(tmp_path / BOXES)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 100_000, b'{"images": ' * 100_000, b"\xff\xfe", b'{"images": "\\ud800"}',
     b"\0" * 99, b'{"annotations": [], "images": [{"id": 1' + b"0" * 9999 + b', "file_name": "a"}]}'],
)  # fmt: skip
def test_what_is_no_json_is_refused(tmp_path, content):
    (tmp_path / BOXES).write_bytes(content)
    with pytest.raises(ValueError, match="Expected COCO's images and annotations in .*Received: "):
        read_boxes(tmp_path / BOXES)


def test_the_schema_stops_at_the_first_error_and_at_its_limit():
    """Where pydantic would otherwise keep an error for each of a hundred million numbers."""
    schema, fine = pydantic.TypeAdapter(Coco), CocoAnnotation(1, (0.0, 0.0, 1.0, 1.0))
    for annotations in [0] * 9, [fine] * (labels.MOST_IN_COCO + 1):
        with pytest.raises(pydantic.ValidationError) as caught:
            schema.validate_python({"images": [], "annotations": annotations})
        assert caught.value.error_count() == 1
    assert schema.validate_python({"images": [], "annotations": [fine] * labels.MOST_IN_COCO})


def test_boxes_without_area_in_their_picture_are_left_out(tmp_path, capsys):
    """20 x 40 pixels; what lies partly outside is cut."""
    boxes = [-4, -4, 8, 14], [40, 0, 5, 5], [3, -9, 5, 9], [4, 4, 0, 4], [30, 15, 1e6, 1e6]
    (tmp_path / BOXES).write_text(json.dumps(coco(*boxes)))
    counts, found = read_labels([tmp_path / "a.png", tmp_path / "b.png"], np.array([[20, 40]] * 2))
    np.testing.assert_array_equal(counts, [2, UNKNOWN])
    np.testing.assert_allclose(found[0], [[0, 0, 0.5, 0.1], [0.75, 0.75, 1, 1]])
    assert not found[1].any()
    assert f"{tmp_path / BOXES}: 3 boxes of a.png" in capsys.readouterr().err


def test_boxes_beyond_memory_are_refused(tmp_path, monkeypatch):
    (tmp_path / BOXES).write_text(json.dumps(coco(*[[1, 2, 3, 4]] * 500)))
    monkeypatch.setattr(memory, "memory_bytes", lambda: 10_000_000)
    paths = [tmp_path / "a.png", *(tmp_path / f"{i}.png" for i in range(999))]
    with pytest.raises(ValueError, match="boxes of 1,000 pictures, 500 in one of them to fit"):
        read_labels(paths, np.full((1000, 2), 20))


def test_only_regular_files_of_a_limited_size_are_read(tmp_path, monkeypatch):
    paths = [tmp_path / "a.png"]
    os.mkfifo(tmp_path / COUNTS)
    (tmp_path / BOXES).mkdir()
    assert label_files(paths) == []
    monkeypatch.setattr(labels, "MOST_BYTES", 9)
    (tmp_path / "large").write_text("file,count\n")
    for read in read_counts, read_boxes:
        with pytest.raises(ValueError, match="at most 9 bytes in .*large. Received: 11 bytes"):
            read(tmp_path / "large")
