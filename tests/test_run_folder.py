"""The folder of a run: its name, its lock, and going on with it."""

import contextlib
import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

from air_tf import replaced
from air_tf.config import Config, RunConfig
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.training import checkpoints, run_folder, run_record

FINGERPRINT = "digits"


@pytest.fixture
def config(tmp_path):
    data = MultiMNISTSettings(digits="embedded")
    return Config(data=data, run=RunConfig(runs_dir=str(tmp_path)))


def begin(config):
    """Leaves a run's folder as training does that was stopped at once."""
    with run_folder.opened(config, FINGERPRINT) as folder:
        run_record.write_config(config, FINGERPRINT, folder)
    return folder


def reopen(config, fingerprint=FINGERPRINT):
    """The folder that training would go on in."""
    with run_folder.opened(config, fingerprint) as folder:
        return folder


def changed(config, part, **fields):
    return dataclasses.replace(config, **{part: replaced(getattr(config, part), **fields)})


def test_runs_are_numbered_and_the_newest_is_resumed(config, tmp_path):
    folders = [begin(config) for _ in range(11)]
    assert [folder.name for folder in folders[:2]] == [
        "multi_mnist-embedded-seed0",
        "multi_mnist-embedded-seed0-2",
    ]
    assert reopen(changed(config, "run", resume=True)) == folders[10]
    shutil.rmtree(folders[0])
    folders.append(begin(config))
    assert folders[11].name.endswith("-12")  # fills no gap, so that it is the one to go on with
    assert reopen(changed(config, "run", resume=True)) == folders[11]


def test_a_taken_name_is_refused(config):
    named = changed(config, "run", name="mine")
    begin(named)
    with pytest.raises(ValueError, match="Expected the name of a new run.*--resume"):
        begin(named)


def test_resuming_nothing_is_refused(config):
    with pytest.raises(ValueError, match="Expected a run to resume"):
        reopen(changed(config, "run", resume=True))


def test_resuming_another_config_says_which_field(config):
    begin(config)
    resumed = changed(config, "run", resume=True)
    for part, fields in (
        ("training", {"learning_rate": 0.1}),
        ("model", {"max_objects": 4}),
        ("model", {"scale_prior": (2.0, 0.2)}),
    ):
        (name,) = fields
        with pytest.raises(ValueError, match=f"Expected {name}=.*Received: {name}="):
            reopen(changed(resumed, part, **fields))
    longer = changed(resumed, "training", steps=9000)  # is no other config
    assert reopen(longer).is_dir()


def test_a_resumed_run_keeps_its_warm_start_when_it_gets_more_steps(config):
    begun = run_folder.with_warm_start(config)
    folder = begin(begun)
    assert run_record.read_config(folder).model.estimator.warm_start_steps == 1500
    resumed = changed(changed(config, "run", resume=True), "training", steps=20_000)
    resumed = run_folder.with_warm_start(resumed)
    assert resumed.model.estimator.warm_start_steps == 1500
    assert reopen(resumed) == folder


def test_resuming_on_other_digits_is_refused(config):
    begin(config)
    with pytest.raises(ValueError, match="Expected the digits or pictures that"):
        reopen(changed(config, "run", resume=True), "others")


def test_a_run_that_was_killed_before_it_began_is_new_again(config, tmp_path):
    begun = begin(config)
    killed = reopen(config)  # leaves its lock alone
    assert [path.name for path in killed.iterdir()] == [run_folder.LOCK]
    assert reopen(changed(config, "run", resume=True)) == begun
    assert begin(config) == killed
    named = changed(config, "run", name="mine")
    (tmp_path / "mine").mkdir()
    assert begin(named) == tmp_path / "mine"


def test_a_folder_with_other_files_is_no_new_run(config, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("all of it")
    (tmp_path / "file").write_text("")
    for name in ("mine", "file"):
        with pytest.raises(ValueError, match="Expected the name of a new run"):
            begin(changed(config, "run", name=name))
    with pytest.raises(ValueError, match="Expected a run to resume"):
        reopen(changed(config, "run", name="mine", resume=True))


def test_a_folder_that_was_moved_or_replaced_is_noticed(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    before = folder.stat()
    run_folder.check_in_place(folder, before)
    folder.rename(tmp_path / "renamed")
    with pytest.raises(OSError, match="removed or renamed while training.*--name NEW_NAME"):
        run_folder.check_in_place(folder, before)
    folder.mkdir()
    with pytest.raises(OSError, match="removed or renamed"):
        run_folder.check_in_place(folder, before)


def test_what_was_left_of_unfinished_checkpoints_is_removed(tmp_path):
    kept = tmp_path / "checkpoints"
    (kept / "step-20_temp").mkdir(parents=True)
    (kept / "step-20_temp" / "part-00000-of-00001.data").write_bytes(b"half")
    for name in ("step-10.index", "step-10.data-00000-of-00001", "step-15.data-00000-of-00001"):
        (kept / name).write_bytes(b"")
    (kept / "notes.txt").write_text("mine")
    checkpoints.remove_unfinished(tmp_path)
    left = {"step-10.index", "step-10.data-00000-of-00001", "notes.txt"}
    assert {path.name for path in kept.iterdir()} == left


def test_names_that_are_no_checkpoints_are_passed_over(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("step-7", "step-x", "step-", "step-1e3", "step-" + "9" * 50):
        (tmp_path / "checkpoints" / f"{name}.index").write_bytes(b"")
    assert checkpoints.steps(tmp_path) == [7]


def test_a_run_in_use_is_refused(config):
    named = changed(config, "run", name="mine")
    folder = begin(named)
    script = (
        "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); "
        "print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(folder / run_folder.LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(ValueError, match="no other training is using"):
            reopen(changed(named, "run", resume=True))
        holder.stdin.close()
    for _ in range(2):
        reopen(changed(named, "run", resume=True))


def test_runs_that_begin_at_once_get_folders_of_their_own(config):
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(run_folder.opened(config, FINGERPRINT)) for _ in range(3)]
        assert len(set(folders)) == 3
        named = changed(config, "run", name=folders[0].name)
        with pytest.raises(ValueError, match="no other training is using"):
            begin(named)


def test_config_json_says_what_was_run(config):
    record = json.loads((begin(config) / "config.json").read_text())
    assert record["digits"] == "embedded" and record["seed"] == 0
    assert record["versions"]["tensorflow"] == tf.__version__
    assert record["model"]["max_objects"] == 3
