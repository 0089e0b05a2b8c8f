"""Whether tensorflow-datasets has a data set, or can get it: by itself it tries for minutes."""

import os
import threading
import urllib.request

from air_tf.paths import expand, shown

NETWORK_TIMEOUT = 3.0  # seconds


def check_can_be_had(name: str, url: str) -> None:
    """Raises ConnectionError unless the data set is on this disk, or its `url` answers."""
    if not is_prepared(name) and not network_reaches(url):
        raise ConnectionError(f"no answer from {url}")


def is_prepared(name: str) -> bool:
    """Whether tensorflow-datasets has the data set on this disk."""
    folder = os.environ.get("TFDS_DATA_DIR", os.path.join("~", "tensorflow_datasets"))
    return any(expand(folder).glob(f"{name}/*/dataset_info.json"))


def network_reaches(url: str) -> bool:
    """Whether `url` answers within NETWORK_TIMEOUT; a thread, since name look-up has no time-out."""
    answered = threading.Event()

    def ask():
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT):
                answered.set()
        except Exception:  # of whatever kind: it does not answer
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(NETWORK_TIMEOUT)
    return answered.is_set()


def reason_of(error: Exception) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {shown(str(error).partition(chr(10))[0])}"
