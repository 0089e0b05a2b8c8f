#!/usr/bin/env bash
# TF Serving's own docker image against the model in pretrained/: every endpoint over gRPC and REST, bad
# requests, metrics, and clients while a new version is renamed into place.
# Usage: tests/serving_smoke.sh [IMAGE]     (default: the one that export.py prints)
set -euo pipefail
cd "$(dirname "$0")/.."

image=${1:-$(python -c 'from air_tf.serving.export import SERVING_IMAGE; print(SERVING_IMAGE)' 2> /dev/null)}
models=$(mktemp -d)
cp -r pretrained/. "$models"
chmod -R a+rX "$models"
container=$(docker run --rm --detach --publish 18500:8500 --publish 18501:8501 \
  --volume "$models:/models/air:ro" "$image" \
  --model_config_file=/models/air/models.config --monitoring_config_file=/models/air/monitoring.config)
trap 'docker logs "$container" 2>&1 | tail -20; docker stop "$container" > /dev/null; rm -r "$models"' EXIT

for _ in $(seq 60); do
  curl --silent --fail localhost:18501/v1/models/air > /dev/null && break
  sleep 1
done
curl --silent --fail localhost:18501/monitoring/prometheus/metrics > "$models/metrics.txt"
grep --max-count 1 tensorflow "$models/metrics.txt"

MODELS=$models python - << 'PYTHON'
import base64
import json
import os
import shutil
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import tensorflow as tf

import air_tf
from air_tf.image_files import as_png
from air_tf.serving.remote import RemoteModel

ADDRESS, REST = "127.0.0.1:18500", "http://127.0.0.1:18501/v1/models/air"
images = np.zeros((2, 50, 50, 1), np.float32)
images[0, 10:30, 24:27] = 1.0
files = [as_png(np.repeat(np.uint8(255 * image), 3, axis=-1)) for image in images]
local, remote = air_tf.load("pretrained"), RemoteModel(ADDRESS)
scene = local.infer(images)
objects = {"counts": scene.counts.numpy(), "z_what": scene.z_what.numpy(), "z_where": scene.z_where.numpy()}
theirs, ours = (
    (m.infer(images), m.infer_encoded(files), m.prepare(files), m.decode(**objects), m.layers_of(scene))
    for m in (remote, local)
)
tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), theirs, ours)


def rest(body=None, path=":predict"):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(REST + path, data)) as response:
        return json.load(response)


expected = scene.counts.numpy().tolist()
rows = rest({"instances": [{"images": image.tolist()} for image in images]})
assert [row["counts"] for row in rows["predictions"]] == expected
assert rest({"inputs": {"images": images.tolist()}})["outputs"]["counts"] == expected
encoded = [{"image_bytes": {"b64": base64.b64encode(file).decode()}} for file in files]
rows = rest({"signature_name": "encoded", "instances": encoded})
assert [row["counts"] for row in rows["predictions"]] == expected

for bad in (np.full_like(images, np.nan), images[:0], images[..., 0], images.astype(np.float64)):
    try:
        remote._predict("serving_default", images=bad)
    except ValueError as error:
        assert "INVALID_ARGUMENT" in str(error), error
    else:
        raise SystemExit("a bad request was answered")

stop, failures = threading.Event(), []


def call():
    client = RemoteModel(ADDRESS)
    while not stop.is_set():
        try:
            client.infer(images)
        except ValueError as error:
            failures.append(error)


clients = [threading.Thread(target=call) for _ in range(4)]
for client in clients:
    client.start()
models = Path(os.environ["MODELS"])
shutil.copytree(models / "1", models / ".2")
(models / ".2").rename(models / "2")
deadline = time.monotonic() + 60
while "2" not in [v["version"] for v in rest(path="")["model_version_status"] if v["state"] == "AVAILABLE"]:
    assert time.monotonic() < deadline, "version 2 was not loaded"
    time.sleep(0.5)
stop.set()
for client in clients:
    client.join()
assert not failures, failures[0]
print("TF Serving answers as the model does.")
PYTHON
