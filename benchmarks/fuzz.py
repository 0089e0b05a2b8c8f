"""Feeds generated input to everything that reads files or requests, and counts what comes of it.

    python -m benchmarks.fuzz                       # 100,000 cases for each reader
    python -m benchmarks.fuzz --cases 1000 --only config history

Each reader gets valid input with parts replaced, removed, repeated or cut off. It must either read that
or refuse it with one of the errors that it documents. Each runs in its own process, so that a crash, a
case that never ends or one that takes all memory counts as a failure of that reader alone. The results
are written to results/fuzz.json and results/fuzz.md after each reader; a reader that already has as many
cases there is not fed again.
"""

import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import hypothesis
import tyro

ROOT = Path(__file__).parents[1]
SECONDS_PER_CASE = 60  # after which a case counts as one that hangs
READERS = (
    "settings", "config", "history", "cluster", "counts", "boxes", "digits", "cache", "picture",
    "progress", "manifest", "encoded", "request",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Feed generated input to every reader, and count what comes of it."""

    cases: int = 100_000
    """Inputs that each reader gets."""

    only: tuple[str, ...] = READERS
    """Readers to feed (default: all)."""

    seed: int = 0
    """Seed of the inputs."""

    results_dir: Path = ROOT / "results"
    """Folder of the results."""

    reader: str = ""
    """Feed this reader alone, in this process, and print what came of it."""


def feed(name: str, cases: int, seed: int) -> dict:
    """Feeds one reader in this process.

    Returns:
        How many cases were read and how many were refused with which error; the longest time that a
        case took, in seconds; the memory of the process at its largest, in MB.

    Raises:
        Exception: whatever a reader raises that it does not document; hypothesis prints the case.
    """
    from benchmarks.fuzz_readers import make_reader

    outcomes, slowest = Counter(), 0.0
    with tempfile.TemporaryDirectory() as folder:
        reader = make_reader(name, Path(folder))

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=cases, deadline=None, database=None, print_blob=False,
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        @hypothesis.given(reader.inputs)
        def each(case):
            nonlocal slowest
            started = time.perf_counter()
            try:
                reader.read(case)
                outcomes["read"] += 1
            except reader.refusals as error:
                outcomes[type(error).__name__] += 1
            slowest = max(slowest, time.perf_counter() - started)

        started = time.perf_counter()
        each()
    return {
        "reader": name,
        "cases": sum(outcomes.values()),
        "read": outcomes.pop("read", 0),
        "refused": dict(outcomes.most_common()),
        "failures": 0,
        "slowest_case_seconds": round(slowest, 3),
        "seconds": round(time.perf_counter() - started, 1),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def feed_apart(name: str, arguments: Arguments) -> dict:
    """Feeds one reader in a process of its own; what ends that process is its failure."""
    command = [sys.executable, "-m", "benchmarks.fuzz", "--reader", name]
    command += ["--cases", str(arguments.cases), "--seed", str(arguments.seed)]
    limit = 60 + SECONDS_PER_CASE + arguments.cases // 10
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"reader": name, "failures": 1, "failure": f"not done after {limit} s"}
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return {"reader": name, "failures": 1, "failure": last}
    return json.loads(done.stdout.splitlines()[-1])


def write_results(rows: list[dict], folder: Path) -> None:
    """Writes fuzz.json and fuzz.md."""
    from experiments.tables import markdown

    (folder / "fuzz.json").write_text(json.dumps(rows, indent=2) + "\n")
    table = [
        {
            "reader": row["reader"],
            "cases": f"{row.get('cases', 0):,}",
            "read": f"{row.get('read', 0):,}",
            "refused": f"{sum(row.get('refused', {}).values()):,}",
            "failures": str(row["failures"]),
            "slowest case": f"{row.get('slowest_case_seconds', float('nan')):.2f} s",
            "memory": f"{row.get('megabytes', 0):,} MB",
        }
        for row in rows
    ]
    text = (
        "# Generated input\n\n"
        "Written by `python -m benchmarks.fuzz`, with `--cases` as in the table.\n\n"
        f"{markdown(table)}"
    )
    (folder / "fuzz.md").write_text(text)


def main(arguments: Arguments) -> int:
    if arguments.reader:
        print(json.dumps(feed(arguments.reader, arguments.cases, arguments.seed)))
        return 0
    path = arguments.results_dir / "fuzz.json"
    rows = {row["reader"]: row for row in json.loads(path.read_text())} if path.exists() else {}
    for name in arguments.only:
        known = rows.get(name, {})
        if known.get("cases", 0) < arguments.cases or known["failures"]:
            print(f"{name}: {arguments.cases:,} cases", flush=True)
            rows[name] = feed_apart(name, arguments)
            print(rows[name], flush=True)
            write_results([rows[n] for n in READERS if n in rows], arguments.results_dir)
    return int(any(rows[name]["failures"] for name in arguments.only))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
