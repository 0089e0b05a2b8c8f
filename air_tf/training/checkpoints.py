"""The checkpoints in a run's folder."""

import re
import shutil
import sys
from pathlib import Path

import tensorflow as tf

from air_tf.paths import first_line

KEPT = 3


def steps(folder: Path) -> list[int]:
    """The steps of the run's checkpoints on disk, in order."""
    found = (folder / "checkpoints").glob("step-*.index")
    return sorted(int(m[1]) for path in found if (m := re.fullmatch(r"step-([0-9]{1,18})", path.stem)))


def paths(folder: Path) -> list[str]:
    """The run's checkpoints on disk, oldest first."""
    return [str(folder / "checkpoints" / f"step-{step}") for step in steps(folder)]


def restore(checkpoint: tf.train.Checkpoint, folder: Path, partial: bool = False) -> str | None:
    """Restores the newest checkpoint that can be read; says so when it is not the newest of all.

    Args:
        checkpoint: of objects whose variables all exist.
        folder: the run's.
        partial: whether the checkpoint may hold more than is asked for.

    Returns:
        The path of the checkpoint, or None when there is none.

    Raises:
        ValueError: there are checkpoints, but of another config or none that can be read.
    """
    found = paths(folder)
    for path in reversed(found):
        try:
            status = checkpoint.read(path).expect_partial()  # no warnings when it does not match
            status.assert_existing_objects_matched() if partial else status.assert_consumed()
            return path
        except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
            reason = first_line(error)
            # weights of another shape, in TensorFlow's words, or other weights
            if "incompatible tensor" in reason or isinstance(error, AssertionError):
                raise ValueError(
                    f"Expected a checkpoint of the config in {folder / 'config.json'}. "
                    f"Received: {path} of another config: {reason}"
                ) from error
            print(f"Checkpoint {path} is damaged ({reason}): trying the one before.", file=sys.stderr)
    if found:
        raise ValueError(f"Expected a readable checkpoint in {folder}. Received: {len(found)} damaged.")
    return None


def remove_unfinished(folder: Path) -> None:
    """Removes what a killed process or a full disk left of checkpoints that were being written."""
    checkpoints = folder / "checkpoints"
    for leftover in checkpoints.glob("step-*_temp"):
        shutil.rmtree(leftover, ignore_errors=True)
    whole = {f"step-{step}" for step in steps(folder)}
    for part in checkpoints.glob("step-*.*"):
        if part.name.partition(".")[0] not in whole:
            part.unlink(missing_ok=True)
