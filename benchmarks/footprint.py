"""Import time and the memory of training: python -m benchmarks.footprint

Writes results/footprint.json.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
IMPORTS, TRAINING_STEPS = 5, 1000


def import_seconds() -> list[float]:
    """Wall times of importing the model in fresh processes, after one that warms the files."""
    seconds = []
    for _ in range(IMPORTS + 1):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "from air_tf import AIR"], check=True, cwd=ROOT, capture_output=True
        )
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def training_megabytes() -> float:
    """Greatest resident memory of a training with its evaluations, images made in the same process."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--digits", "embedded", "--runs-dir", folder, "--cache-dir", folder]
        command = [sys.executable, "train.py", *flags, "--steps", str(TRAINING_STEPS)]
        subprocess.run(command, check=True, cwd=ROOT)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest child


def main() -> None:
    seconds = import_seconds()
    results = {
        "command": "python -m benchmarks.footprint",
        "import_seconds_median": float(np.median(seconds)),
        "import_seconds_all": seconds,
        "training_resident_megabytes": training_megabytes(),
    }
    (ROOT / "results" / "footprint.json").write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
