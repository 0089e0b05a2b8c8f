#!/usr/bin/env bash
# TF Serving's own docker image against the model in pretrained/: health, REST, gRPC, metrics.
# Usage: tests/serving_smoke.sh [IMAGE]     (default: the one that export.py prints)
set -euo pipefail
cd "$(dirname "$0")/.."

image=${1:-$(python -c 'from air_tf.serving import SERVING_IMAGE; print(SERVING_IMAGE)' 2> /dev/null)}
container=$(docker run --rm --detach --publish 18500:8500 --publish 18501:8501 \
  --volume "$PWD/pretrained:/models/air:ro" "$image" \
  --model_config_file=/models/air/models.config \
  --enable_batching=true --batching_parameters_file=/models/air/batching.config \
  --monitoring_config_file=/models/air/monitoring.config)
trap 'docker logs "$container" 2>&1 | tail -20; docker stop "$container" > /dev/null' EXIT

for _ in $(seq 60); do
  curl --silent --fail localhost:18501/v1/models/air > /dev/null && break
  sleep 1
done
curl --silent --fail localhost:18501/v1/models/air | grep AVAILABLE
curl --silent --fail localhost:18501/monitoring/prometheus/metrics | grep --max-count 1 tensorflow

python - << 'PYTHON'
import base64
import json
import urllib.request

import numpy as np

import air_tf
from air_tf.pictures import as_png
from air_tf.remote import RemoteModel

images = np.zeros((2, 50, 50, 1), np.float32)
images[0, 10:30, 24:27] = 1.0
expected = air_tf.load("pretrained").infer(images)
remote = RemoteModel("127.0.0.1:18500")
for ours, theirs in zip(expected, remote.infer(images)):
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def post(body):
    url = "http://127.0.0.1:18501/v1/models/air:predict"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode())) as response:
        return json.load(response)


rows = post({"instances": [{"images": image.tolist()} for image in images]})
assert [row["counts"] for row in rows["predictions"]] == expected.counts.numpy().tolist()
columns = post({"inputs": {"images": images.tolist()}})
assert columns["outputs"]["counts"] == expected.counts.numpy().tolist()
file = as_png(np.repeat(np.uint8(255 * images[0]), 3, axis=-1))
encoded = {"b64": base64.b64encode(file).decode()}
answer = post({"signature_name": "encoded", "instances": [{"image_bytes": encoded}]})
assert answer["predictions"][0]["counts"] == int(expected.counts[0])
for bad in (np.full((1, 50, 50, 1), np.nan), np.zeros((1, 50, 50, 1))[:0]):
    try:
        remote.infer(np.float32(bad))
    except ValueError as error:
        print("refused:", str(error)[:80])
    else:
        raise SystemExit("a bad request was answered")
print("TF Serving answers as the model does.")
PYTHON
