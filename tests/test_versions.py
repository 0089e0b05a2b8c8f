import threading

import pytest

from air_tf.serving import versions


def write(folder, file):
    """A version as `export` leaves it to `publish`."""
    with versions.writing(folder, {"model"}) as temporary:
        (temporary / "model").mkdir()
        (temporary / "model" / file).touch()
        return versions.publish(temporary / "model", folder)


def test_only_what_tf_serving_reads_counts_as_a_version(tmp_path):
    for name in ("99999999999999999999", str(2**63), "007", "٣", "-1", "+4", "1.5", " 8"):
        (tmp_path / name).mkdir()
    (tmp_path / "9").touch()  # a file
    assert versions.versions(tmp_path) == [] and versions.newest_version(tmp_path) == tmp_path
    (tmp_path / "1").touch()
    assert write(tmp_path, "kept") == tmp_path / "2"
    (tmp_path / "8").mkdir()
    assert write(tmp_path, "kept") == tmp_path / "10"  # 9 is the file
    assert versions.versions(tmp_path) == [2, 8, 10]
    assert versions.newest_version(tmp_path) == tmp_path / "10"


def test_after_the_last_version_there_is_none(tmp_path):
    (tmp_path / str(2**63 - 2)).mkdir()
    assert write(tmp_path, "kept") == tmp_path / str(2**63 - 1)
    with pytest.raises(ValueError, match=f"Expected a version .*Received: {2**63 - 1}, after which"):
        write(tmp_path, "lost")
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_killed_export_left_is_removed_and_nothing_else(tmp_path):
    killed, users = tmp_path / ".writing-killed", tmp_path / ".writing-mine"
    (killed / "model").mkdir(parents=True)
    users.mkdir()
    (users / "novel.txt").touch()
    write(tmp_path, "kept")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".writing-mine", "1"]
    assert (users / "novel.txt").exists()


def test_an_export_does_not_take_another_for_a_killed_one(tmp_path):
    entered = threading.Event()

    def other():
        with versions.writing(tmp_path, {"model"}):
            entered.set()

    thread = threading.Thread(target=other)
    with versions.writing(tmp_path, {"model"}) as temporary:
        thread.start()
        assert not entered.wait(0.3) and temporary.is_dir()
    thread.join()
    assert entered.is_set() and not list(tmp_path.iterdir())
