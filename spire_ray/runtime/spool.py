"""What MLflow has not taken, beside the output that it is of: one event a line."""

import base64
import json
from collections.abc import Sequence
from typing import Any

from spire_ray.core import redact, storage
from spire_ray.runtime.tracking import Event, Runs

SPOOL_FILE = "_tracking.jsonl"


def read(output: str) -> list[Event]:
    """The events of a folder, in order."""
    place = storage.join(output, SPOOL_FILE)
    lines = storage.read_bytes(place).splitlines() if storage.exists(place) else []
    return [_decoded(json.loads(line)) for line in lines]


def write(output: str, events: Sequence[Event]) -> None:
    """Keep events in the place of those that are there."""
    lines = [json.dumps(_encoded(event), ensure_ascii=False) + "\n" for event in events]
    storage.write_bytes(storage.join(output, SPOOL_FILE), "".join(lines).encode())


def append(output: str, events: Sequence[Event]) -> None:
    """Keep more events."""
    if events:
        write(output, [*read(output), *events])


def discard(output: str) -> None:
    """All of them are delivered."""
    storage.delete(storage.join(output, SPOOL_FILE))


def replay(output: str, uri: str) -> int:
    """Send what is kept to a store, and discard it; how many events that were. Raises what mlflow does."""
    events, runs = read(output), dict[str, Runs]()
    for event in events:
        if event["experiment"] not in runs:
            runs[event["experiment"]] = Runs(uri, event["experiment"])
        runs[event["experiment"]].apply(event)
    discard(output)
    return len(events)


def _encoded(event: Event) -> dict[str, Any]:
    if "content" in event:
        event = event | {"content": base64.b64encode(event["content"]).decode()}
    return {key: redact.value(value) for key, value in event.items()}


def _decoded(event: dict[str, Any]) -> Event:
    return event | ({"content": base64.b64decode(event["content"])} if "content" in event else {})
