"""One writer to an output folder at a time, on a disk and on S3, whatever the clocks say.

The writer holds a numbered file below `_lock` and writes it anew every 15 s. Whoever finds one whose process on this machine is
gone, or that did not change in a minute of their own clock, makes the file of the next number, which only one can. The highest
number owns the folder: before every commit a writer looks whether that is still its own (`check`), so that one that slept and was
taken over writes no more.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spire_ray.core import storage

LOCK_FILE = "_lock"
HELD = "SPIRE_LOCK"
"""In the environment of a job and its workers: which lock they write under."""
_RENEWED_EVERY, _DEAD_AFTER, _LOOKED_EVERY = 15.0, 60.0, 1.0
_SHOWN_FOR = 300.0
"""Seconds after which `holder` tells of no writer on another machine; nothing is decided by it."""


class LostError(ValueError):
    """The folder has another owner now."""


@contextlib.contextmanager
def held(folder: str) -> Iterator[None]:
    """Hold the lock of a folder. Raises ValueError naming the writer that has it."""
    mine = _taken(folder)
    os.environ[HELD] = json.dumps(mine)
    ended = threading.Event()
    thread = threading.Thread(target=_renew, args=(mine, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        os.environ.pop(HELD, None)
        if _is_owner(mine):
            storage.delete(_place(folder, mine["number"]))
        if storage.is_local(folder):
            with contextlib.suppress(OSError):  # another one's is in it
                os.rmdir(storage.join(folder, LOCK_FILE))


def check(folder: str) -> None:
    """Before a commit to a folder that this job holds. Raises LostError where it does not any more."""
    mine = json.loads(os.environ.get(HELD, "{}"))
    if mine.get("folder") == folder and not _is_owner(mine):
        raise LostError(f"output={folder}: another process has taken it over; this one writes no more")


def holder(folder: str) -> dict[str, Any] | None:
    """Who seems to write to a folder: `host`, `pid`, `renewed`; None if there is nobody."""
    numbers = _numbers(folder)
    writer = _read(folder, numbers[-1]) if numbers else None
    if not writer:
        return None
    alive = _lives_here(writer)
    return writer if (time.time() - writer["renewed"] < _SHOWN_FOR if alive is None else alive) else None


def _taken(folder: str) -> dict[str, Any]:
    numbers = _numbers(folder)
    newest = numbers[-1] if numbers else 0
    if newest and (writer := _living(folder, newest)) is not None:
        raise ValueError(
            f"output={folder}: process {writer['pid']} on {writer['host']} is writing there; wait for it, or end it first"
        )
    mine = {"folder": folder, "number": newest + 1, "id": uuid.uuid4().hex}
    if not storage.create(_place(folder, newest + 1), _content(mine, 0)):
        raise ValueError(f"output={folder}: another process took it at the same moment")
    for number in numbers:
        storage.delete(_place(folder, number))
    return mine


def _living(folder: str, number: int) -> dict[str, Any] | None:
    """The writer of a lock, watched where it is on another machine; None where there is none any more."""
    first = _read(folder, number)
    alive = _lives_here(first) if first else None
    if alive is not None:
        return first if alive else None
    print(f"  {folder}: is locked from {(first or {}).get('host', 'elsewhere')}; waiting to see whether that lives", flush=True)
    begun = time.monotonic()
    while time.monotonic() - begun < _DEAD_AFTER:
        time.sleep(_LOOKED_EVERY)
        if (now := _read(folder, number)) and now != first:
            return now
        if number not in _numbers(folder):
            return None
    return None


def _lives_here(writer: dict[str, Any]) -> bool | None:
    """Whether a process of this machine still lives; None for one of another machine, or one that is hidden from this user."""
    if writer["machine"] != _machine() or (began := _began(writer["pid"])) is None:
        return None
    return bool(began == writer["began"])


def _machine() -> str:
    """The machine since it was started, and the names that processes have in this container."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _began(pid: int) -> str | None:
    """When a process began, which tells it from a later one of its number; empty where there is none.

    None for a process of another user on a machine whose /proc shows only one's own (hidepid).
    """
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return None
    return "" if Path("/proc/self/stat").exists() else "alive"


def _renew(mine: dict[str, Any], ended: threading.Event) -> None:
    beat = 0
    while not ended.wait(_RENEWED_EVERY):
        beat += 1
        with contextlib.suppress(OSError):  # a full disk: the job itself will say so
            if not _is_owner(mine):
                return
            storage.write_bytes(_place(mine["folder"], mine["number"]), _content(mine, beat))


def _is_owner(mine: dict[str, Any]) -> bool:
    folder, number = mine["folder"], mine["number"]
    found = _read(folder, number)
    return bool(found and found["id"] == mine["id"] and not storage.exists(_place(folder, number + 1)))


def _read(folder: str, number: int) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = storage.read_json(_place(folder, number))
    except (FileNotFoundError, ValueError):
        return None
    return found


def _numbers(folder: str) -> list[int]:
    names = storage.listing(storage.join(folder, LOCK_FILE))
    return sorted(int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdecimal())


def _place(folder: str, number: int) -> str:
    return storage.join(folder, LOCK_FILE, f"{number:06d}.json")


def _content(mine: dict[str, Any], beat: int) -> bytes:
    who = {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid(), "began": _began(os.getpid())}
    return json.dumps({"id": mine["id"], "beat": beat, "renewed": time.time(), **who}).encode()
