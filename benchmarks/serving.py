"""What serving costs: a SavedModel in this process, a server under load, the page in a browser.

    python -m benchmarks.serving                # the model in pretrained/; about two minutes
    python -m benchmarks.serving --seconds 5    # a look

The server is tests/prediction_server.py, a process of its own on the same cores. Sixteen clients call
it; every hundredth request is a bad one; halfway a new version is renamed into place. The page is
demo.py in headless Chromium, where there is one. Written to results/serving.json.
"""

import dataclasses
import itertools
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import tyro

from air_tf import cli
from air_tf.json_files import write_json
from air_tf.serving.remote import RemoteModel
from air_tf.serving.served import PRETRAINED, ServedModel
from air_tf.serving.versions import newest_version

ROOT = Path(__file__).parents[1]
BATCH, ROUNDS, SINGLES = 64, 100, 300
CLIENTS, BAD_EVERY = 16, 100
PAGE_LOADS = 5
SETTLED = 10.0  # seconds after which memory must stay flat
FETCHED = "counts", "boxes", "reconstructions"


@dataclasses.dataclass(frozen=True)
class ServingBenchmark:
    """What serving costs: throughput and latency of a SavedModel, and a server under load."""

    saved_model: Path = PRETRAINED
    """Folder of versions."""

    seconds: float = 60.0
    """Of load on the server."""

    page: bool = True
    """Whether to time the page."""

    out: Path = ROOT / "results" / "serving.json"
    """File to write."""


def times_of(call, rounds: int) -> np.ndarray:
    """Seconds of each of `rounds` calls, after a few that warm up."""
    for _ in range(5):
        call()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return np.array(times)


def in_process(folder: Path, random: np.random.Generator) -> dict:
    """Of the SavedModel in this process, and of the same model's `infer`, checks and all."""
    from tests.prediction_server import Version

    version = newest_version(folder)
    model, session = ServedModel(version), Version(version)
    batch, single = (random.random((n, *model.image_shape), np.float32) for n in (BATCH, 1))
    signature = session.signatures["serving_default"]
    feed = signature.inputs["images"].name
    fetches = [signature.outputs[name].name for name in FETCHED]
    of_batch = times_of(lambda: session.session.run(fetches, {feed: batch}), ROUNDS)
    of_single = times_of(lambda: session.session.run(fetches, {feed: single}), SINGLES)
    inferred = times_of(lambda: model.infer(batch), ROUNDS)
    return {
        "batch": BATCH,
        "images_per_second": BATCH / float(np.median(of_batch)),
        "single_ms_p50": 1000 * float(np.median(of_single)),
        "single_ms_p99": 1000 * float(np.quantile(of_single, 0.99)),
        "infer_images_per_second": BATCH / float(np.median(inferred)),
    }


class Client(threading.Thread):
    """Calls the server until it is told to stop; counts what it gets."""

    def __init__(self, address: str, images: np.ndarray, stop: threading.Event, first: int):
        super().__init__()
        self.model, self.images, self.stop_event = RemoteModel(address), images, stop
        self.first = first  # number of its first request: every BAD_EVERY-th is a bad one
        self.times, self.refused, self.wrong = [], 0, []

    def run(self):
        for i in itertools.count(self.first):
            if self.stop_event.is_set():
                return
            bad = i % BAD_EVERY == 0
            images = np.full_like(self.images, np.nan) if bad else self.images
            started = time.perf_counter()
            try:
                outputs = self.model._predict("serving_default", {"images": images})
                fine = not bad and len(outputs["counts"]) == len(images)
                self.times.append(time.perf_counter() - started)
            except ValueError as error:
                fine = bad and "INVALID_ARGUMENT" in str(error)
                self.refused += 1
            if not fine:
                self.wrong.append(i)


def under_load(folder: Path, seconds: float, random: np.random.Generator) -> dict:
    """A server of a copy of `folder`, called by CLIENTS at once, with a new version halfway."""
    with tempfile.TemporaryDirectory() as temporary:
        served = Path(temporary) / "air"
        shutil.copytree(newest_version(folder), served / "1")
        command = [sys.executable, ROOT / "tests" / "prediction_server.py", served, "--port", "0"]
        with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as server:
            try:
                said = server.stdout.readline()
                if "Serving" not in said:
                    raise ValueError(f"Expected a server of {folder}. Received: exit {server.wait()}.")
                address = said.split()[-1].rstrip(".")
                return call_it(server, address, served, seconds, random)
            finally:
                server.terminate()


def call_it(server, address: str, served: Path, seconds: float, random: np.random.Generator) -> dict:
    """The load itself, and the server's memory from SETTLED seconds on."""
    shape = RemoteModel(address).image_shape
    stop, images = threading.Event(), random.random((1, *shape), np.float32)
    firsts = range(1, BAD_EVERY, -(-BAD_EVERY // CLIENTS))
    clients = [Client(address, images, stop, firsts[i % len(firsts)]) for i in range(CLIENTS)]
    process, memory, started, swapped = psutil.Process(server.pid), [], time.monotonic(), False
    for client in clients:
        client.start()
    while (elapsed := time.monotonic() - started) < seconds:
        time.sleep(0.2)
        memory.append((elapsed, process.memory_info().rss))
        if elapsed > seconds / 2 and not swapped:
            shutil.copytree(served / "1", served / ".2")
            (served / ".2").rename(served / "2")
            swapped = True
    stop.set()
    for client in clients:
        client.join()
    times = np.concatenate([client.times for client in clients])
    settled = [rss for at, rss in memory if at >= min(SETTLED, seconds / 2)]
    return {
        "seconds": seconds,
        "clients": CLIENTS,
        "good_answered": len(times),
        "bad_refused": sum(client.refused for client in clients),
        "wrong": sum(len(client.wrong) for client in clients),
        "requests_per_second": len(times) / seconds,
        "ms_p50": 1000 * float(np.median(times)),
        "ms_p99": 1000 * float(np.quantile(times, 0.99)),
        "memory_mb": settled[0] / 2**20,
        "memory_growth": max(settled) / settled[0] - 1,
        "memory_growth_at_the_end": settled[-1] / settled[0] - 1,
    }


def of_page(folder: Path) -> dict | None:
    """Seconds until one can draw, and milliseconds from a stroke's end to what is shown, medians."""
    if shutil.which("chromium") is None:
        return None
    from playwright.sync_api import sync_playwright

    from tests import page as tests_page

    process, url = tests_page.started("--saved-model", folder)
    loads, strokes = [], []
    try:
        with sync_playwright() as playwright:
            path = shutil.which("chromium")
            for _ in range(PAGE_LOADS):
                browser = playwright.chromium.launch(executable_path=path, args=tests_page.FLAGS)
                page = browser.new_page()
                started = time.perf_counter()
                page.goto(url)
                page.wait_for_selector("#drawing canvas")
                loads.append(time.perf_counter() - started)
                tests_page.wait_for_count(page, 0)
                tests_page.stroke(page, (0.25, 0.15), (0.25, 0.4))
                started = time.perf_counter()
                tests_page.wait_for_count(page, 1)
                strokes.append(1000 * (time.perf_counter() - started))
                shown_ms = float(page.inner_text("#said").split()[-2])
                browser.close()
    finally:
        process.terminate()
    load, stroke = float(np.median(loads)), float(np.median(strokes))
    return {"load_seconds": load, "stroke_to_shown_ms": stroke, "of_which_inference_ms": shown_ms}


def main() -> None:
    config, random = tyro.cli(ServingBenchmark), np.random.default_rng(0)
    results = {
        "in_process": in_process(config.saved_model, random),
        "under_load": under_load(config.saved_model, config.seconds, random),
    }
    if config.page and (page := of_page(config.saved_model)) is not None:
        results["page"] = page
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(results, config.out)
    print(cli.table(results))


if __name__ == "__main__":
    sys.exit(cli.run(main))
