"""Folders of results: whole or not there, and nothing of the user's is ever deleted."""

import json
import os
import shutil

import pytest

from air_tf.folders import OWN, PROGRESS, RESULT, UNFINISHED, writing

OLD = {"table.csv": "old", "pictures/1.png": "one", "pictures/2.png": "two", "gone/a/b.txt": "b"}
NEW = {"table.csv": "new", "pictures/2.png": "two", "pictures/3.png": "three", "more/c/d.txt": "d"}


def write(out, files, program="test.py"):
    """A job that writes these files."""
    with writing(out, program) as folder:
        fill(folder / RESULT, files)


def fill(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def tree(folder):
    """All that a folder holds but what the program keeps for itself: contents by name."""
    result = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] != OWN:
            is_text = path.is_file() and not path.is_symlink()
            result[name.as_posix()] = path.read_text() if is_text else os.lstat(path).st_mode
    return result


def texts(folder):
    return {name: text for name, text in tree(folder).items() if isinstance(text, str)}


def folders(folder):
    return {name for name, text in tree(folder).items() if not isinstance(text, str)}


def test_a_result_is_replaced_as_a_whole(tmp_path):
    out = tmp_path / "deep" / "down" / "out"
    write(out, OLD)
    assert texts(out) == OLD
    write(out, NEW)
    assert texts(out) == NEW and folders(out) == {"pictures", "more", "more/c"}
    with writing(out, "test.py") as folder:
        fill(folder / RESULT, NEW)
        (folder / RESULT / "empty").mkdir()
    assert texts(out) == NEW and "empty" not in folders(out)
    assert sorted(path.name for path in (out / OWN).iterdir()) == ["lock", "manifest.json"]


def test_a_job_that_fails_leaves_nothing_behind(tmp_path):
    def fail(out):
        with pytest.raises(RuntimeError), writing(out, "test.py") as folder:
            (folder / RESULT / "half.txt").touch()
            raise RuntimeError

    fail(tmp_path / "deep" / "out")
    assert not list(tmp_path.iterdir())
    write(tmp_path / "out", OLD)
    fail(tmp_path / "out")
    assert texts(tmp_path / "out") == OLD and not (tmp_path / "out" / OWN / UNFINISHED).exists()


def add_a_file(out):
    (out / "thesis.tex").write_text("all of it")
    return "thesis.tex"


def add_among_ours(out):
    (out / "pictures" / "holiday.jpg").write_text("sun")
    return "pictures/holiday.jpg"


def change_ours(out):
    (out / "pictures" / "1.png").write_text("eno")  # of the same size
    return "pictures/1.png"


def add_a_folder(out):
    (out / "album").mkdir()
    return "album"


def move_elsewhere_and_link(out):
    shutil.move(out / "pictures", out.parent / "elsewhere")
    (out / "pictures").symlink_to(out.parent / "elsewhere")
    return "pictures"


def replace_by_a_link(out):
    (out / "table.csv").unlink()
    (out / "table.csv").symlink_to("pictures/1.png")
    return "table.csv"


def replace_by_a_pipe(out):
    (out / "table.csv").unlink()
    os.mkfifo(out / "table.csv")
    return "table.csv"


def replace_by_a_folder(out):
    (out / "table.csv").unlink()
    (out / "table.csv").mkdir()
    return "table.csv"


def forget_what_is_ours(out):
    shutil.rmtree(out / OWN)
    return "gone"


CHANGES = [
    add_a_file, add_among_ours, change_ours, add_a_folder, move_elsewhere_and_link, replace_by_a_link,
    replace_by_a_pipe, replace_by_a_folder, forget_what_is_ours,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_user_added_or_changed_is_refused_and_kept(tmp_path, change):
    out = tmp_path / "out"
    write(out, OLD)
    name = change(out)
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=f"with {name} in it"), writing(out, "test.py"):
        pytest.fail("the job began")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("change", CHANGES[:-1])
def test_what_the_user_does_while_a_job_runs_is_kept_and_so_is_the_result(tmp_path, change):
    out = tmp_path / "out"
    write(out, OLD)
    before, name = {}, ""
    with pytest.raises(ValueError) as raised, writing(out, "test.py") as folder:
        fill(folder / RESULT, NEW)
        name = change(out)
        before |= tree(out)
    assert f"with {name} in it" in str(raised.value)
    assert tree(out) == before
    kept = out / OWN / UNFINISHED / RESULT
    assert str(kept) in str(raised.value) and texts(kept) == NEW


def test_a_folder_of_the_users_own_is_refused_untouched(tmp_path):
    fill(tmp_path, {"table.csv": "mine", "pictures/holiday.jpg": "sun"})
    for out in (tmp_path, tmp_path / "pictures", tmp_path / "pictures" / ".."):
        with pytest.raises(ValueError, match="new folder"), writing(out, "test.py"):
            pytest.fail("the job began")
    with pytest.raises(ValueError, match="which is a file"), writing(tmp_path / "table.csv", "test.py"):
        pytest.fail("the job began")
    with pytest.raises(ValueError, match="new folder"), writing(tmp_path.__class__("/"), "test.py"):
        pytest.fail("the job began")
    assert texts(tmp_path) == {"table.csv": "mine", "pictures/holiday.jpg": "sun"}
    assert not list(tmp_path.rglob(OWN))


def test_a_folder_with_our_name_that_is_not_ours_is_kept(tmp_path):
    fill(tmp_path, {f"{OWN}/{UNFINISHED}/mine.txt": "mine"})
    with pytest.raises(ValueError, match=f"with {OWN} in it"), writing(tmp_path, "test.py"):
        pytest.fail("the job began")
    assert (tmp_path / OWN / UNFINISHED / "mine.txt").read_text() == "mine"


def test_results_of_another_program_are_kept(tmp_path):
    write(tmp_path / "out", OLD, "one.py")
    with pytest.raises(ValueError, match="which one.py writes"):
        write(tmp_path / "out", NEW, "other.py")
    assert texts(tmp_path / "out") == OLD


def test_symbolic_links_are_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")  # which is not there yet
    for files in (OLD, NEW):
        write(tmp_path / "link", files)
        assert (tmp_path / "link").is_symlink() and texts(tmp_path / "target") == files


def test_the_current_folder_can_be_written_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for files in (OLD, NEW):
        write(tmp_path.__class__("."), files)
        assert texts(tmp_path) == files
    assert os.path.samefile(os.curdir, tmp_path)


def test_two_jobs_never_share_a_folder(tmp_path):
    with writing(tmp_path / "out", "test.py") as folder:
        with pytest.raises(ValueError, match="no other job"):
            write(tmp_path / "out", OLD)
        fill(folder / RESULT, NEW)
    assert texts(tmp_path / "out") == NEW
    write(tmp_path / "out", OLD)


def test_progress_is_kept_for_the_next_job_and_other_leftovers_are_not(tmp_path):
    out = tmp_path / "out"
    write(out, OLD)
    with pytest.raises(KeyboardInterrupt), writing(out, "test.py") as folder:
        fill(folder, {PROGRESS: "half", f"{RESULT}/half.txt": "half"})
        raise KeyboardInterrupt
    assert texts(out) == OLD
    with writing(out, "test.py") as folder:
        assert texts(folder) == {PROGRESS: "half", f"{RESULT}/half.txt": "half"}
        (folder / PROGRESS).unlink()
        fill(folder / RESULT, NEW)
    assert texts(out) == NEW | {"half.txt": "half"}
    fill(out / OWN / UNFINISHED, {f"{RESULT}/of-a-dead-process.txt": "half"})
    write(out, NEW)
    assert texts(out) == NEW


class Killed(BaseException):
    """Stands for SIGKILL."""


def kill_at(monkeypatch, number):
    """From the given change of the disk on, nothing changes it any more: as after SIGKILL."""
    changes = []

    def counted(function):
        def call(*arguments, **options):
            changes.append(function)
            if len(changes) > number:
                raise Killed
            return function(*arguments, **options)

        return call

    for name in ("replace", "unlink", "rmdir", "mkdir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))


@pytest.mark.parametrize("old", [{}, OLD])
def test_a_job_killed_at_any_moment_loses_nothing(tmp_path, old):
    seen, number = set(), 0
    for number in range(100):
        out = tmp_path / f"out-{number}"
        if old:
            write(out, old)
        killed = False
        with pytest.MonkeyPatch.context() as monkeypatch:
            kill_at(monkeypatch, number)
            try:
                write(out, NEW)
            except Killed:
                killed = True
        if old:
            assert (out / "table.csv").read_text() in ("old", "new")
        with pytest.raises(RuntimeError), writing(out, "test.py"):
            raise RuntimeError  # a job that does nothing but recover
        found = texts(out) if out.exists() else {}
        assert found in (old, NEW)
        seen.add("new" if found == NEW else "old")
        write(out, OLD)
        assert texts(out) == OLD and not (out / OWN / UNFINISHED).exists()
        if not killed:
            break
    assert seen == {"old", "new"} and 10 < number < 99


@pytest.mark.parametrize("change", [add_a_file, add_among_ours, change_ours])
def test_what_the_user_does_during_the_replacement_is_kept(tmp_path, monkeypatch, change):
    out = tmp_path / "out"
    write(out, OLD)
    name, replace = "", os.replace

    def replace_meanwhile(source, place):
        nonlocal name
        if str(place).endswith("3.png"):
            name = change(out)
        replace(source, place)

    monkeypatch.setattr(os, "replace", replace_meanwhile)
    with pytest.raises(ValueError, match="in it, which was added or changed"):
        write(out, NEW)
    monkeypatch.undo()
    assert (out / name).read_text() in ("all of it", "sun", "eno")
    (out / name).rename(tmp_path / "away")
    with pytest.raises(RuntimeError), writing(out, "test.py"):
        raise RuntimeError  # a job that does nothing but recover
    assert texts(out) == NEW


def test_what_the_user_adds_before_a_recovery_is_kept(tmp_path, monkeypatch):
    out = tmp_path / "out"
    write(out, OLD)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        replace = os.replace

        def replace_but_one(source, place):
            if str(place).endswith("3.png"):
                raise Killed
            replace(source, place)

        patch.setattr(os, "replace", replace_but_one)
        write(out, NEW)
    (out / "pictures" / "3.png").write_text("mine")
    with pytest.raises(ValueError, match="with pictures/3.png in it"):
        write(out, NEW)
    assert (out / "pictures" / "3.png").read_text() == "mine"
    (out / "pictures" / "3.png").rename(tmp_path / "mine.png")
    with pytest.raises(RuntimeError), writing(out, "test.py"):
        raise RuntimeError
    assert texts(out) == NEW


def test_a_manifest_cannot_have_files_elsewhere_deleted(tmp_path):
    out = tmp_path / "out"
    write(out, OLD)
    (tmp_path / "thesis.tex").write_text("old")
    path = out / OWN / "manifest.json"
    manifest = json.loads(path.read_text())
    record = manifest["files"]["table.csv"]
    manifest |= {"replaced": {"../thesis.tex": record, str(tmp_path / "thesis.tex"): record}}
    path.write_text(json.dumps(manifest))
    write(out, NEW)
    assert (tmp_path / "thesis.tex").read_text() == "old" and texts(out) == NEW
    path.write_text("[]")
    with pytest.raises(ValueError, match="Expected the list of a result's files"):
        write(out, OLD)
    assert texts(out) == NEW
