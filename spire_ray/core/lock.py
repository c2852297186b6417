"""One writer to an output folder at a time, on a disk and on S3.

The writer holds `_lock` in the folder and renews it. A lock that was not renewed for a minute, or whose process on this machine
is gone, belongs to a job that was killed, and is taken over.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from spire_ray.core import storage

LOCK_FILE = "_lock"
_RENEWED_EVERY, _DEAD_AFTER = 15.0, 60.0


@contextlib.contextmanager
def held(folder: str) -> Iterator[None]:
    """Hold the lock of a folder. Raises ValueError naming the writer that has it."""
    place = storage.join(folder, LOCK_FILE)
    for _ in range(2):
        if storage.create(place, _content()):
            break
        if (writer := holder(folder)) is not None:
            raise ValueError(
                f"output={folder}: process {writer['pid']} on {writer['host']} is writing there; wait for it, or end it first"
            )
        storage.delete(place)
    else:
        raise ValueError(f"output={folder}: another process took it at the same moment")
    ended = threading.Event()
    thread = threading.Thread(target=_renew, args=(place, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        storage.delete(place)


def holder(folder: str) -> dict[str, Any] | None:
    """The live writer of a folder: `host`, `pid`, `renewed`; None if there is none."""
    try:
        writer: dict[str, Any] = storage.read_json(storage.join(folder, LOCK_FILE))
    except (OSError, ValueError):
        return None
    if writer["host"] == socket.gethostname():
        return writer if _alive(writer["pid"]) else None
    return writer if time.time() - writer["renewed"] < _DEAD_AFTER else None


def _renew(place: str, ended: threading.Event) -> None:
    while not ended.wait(_RENEWED_EVERY):
        with contextlib.suppress(OSError):  # a full disk: the job itself will say so
            storage.write_bytes(place, _content())


def _content() -> bytes:
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "renewed": time.time()}).encode()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
