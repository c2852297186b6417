"""The way to MLflow: events are delivered in order, and kept beside their output while that is not possible."""

import math
import time

from spire_ray.core import redact
from spire_ray.runtime import spool
from spire_ray.runtime.tracking import Event, Runs

_ASKED_AGAIN = 60.0
"""Seconds after which an MLflow that did not answer is asked again."""
_KEPT_EVERY = 30.0
"""Seconds between two copies of what waits."""
_LONGEST_REASON = 200


class Mailbox:
    """What is to be logged, on its way to MLflow: delivered in order, and kept beside its output while that is not possible."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._runs: dict[str, Runs] = {}
        self._waiting: dict[str, list[Event]] = {}
        self._refused: dict[str, list[Event]] = {}
        self._kept: dict[str, float] = {}
        self._down, self._why = -math.inf, ""

    def deliver(self, output: str, event: Event) -> str:
        """Take an event. Id of its run, empty where MLflow does not answer."""
        if output not in self._waiting:
            self._waiting[output] = spool.read(output)
            self._kept |= {output: -math.inf} if self._waiting[output] else {}
        self._waiting[output].append(event)
        return self._flush(output)

    def settle(self, output: str) -> str:
        """Deliver what waits, or keep all of it; why it was not delivered."""
        if self._left(output):
            self._keep(output)
        self._down = -math.inf
        self._flush(output)
        if self._left(output):
            self._keep(output)
            return self._why
        return ""

    def _left(self, output: str) -> list[Event]:
        return [*self._refused.get(output, []), *self._waiting.get(output, [])]

    def _flush(self, output: str) -> str:
        waiting, run_id = self._waiting.get(output, []), ""
        while waiting and time.monotonic() - self._down > _ASKED_AGAIN:
            try:
                run_id = self._apply(waiting[0])
            except Exception as error:  # of mlflow, its store, or what lies below it
                self._why = redact.line(f"{type(error).__name__}: {error}")[:_LONGEST_REASON]
                if self._answers():  # the event itself, or where its file goes, is at fault: others do not wait for it
                    self._refused.setdefault(output, []).append(waiting.pop(0))
                    continue
                self._down = time.monotonic()
                break
            waiting.pop(0)
        if not self._left(output) and output in self._kept:
            spool.discard(output)
            del self._kept[output]
        elif waiting and time.monotonic() - self._kept.get(output, -math.inf) > _KEPT_EVERY:
            self._keep(output)
        return run_id

    def _apply(self, event: Event) -> str:
        experiment = event["experiment"]
        if experiment not in self._runs:
            self._runs[experiment] = Runs(self._uri, experiment)
        return self._runs[experiment].apply(event)

    def _answers(self) -> bool:
        try:
            return bool(self._runs) and all(runs.answers() for runs in self._runs.values())
        except Exception:  # as above
            return False

    def _keep(self, output: str) -> None:
        self._kept[output] = time.monotonic()
        spool.write(output, self._left(output))
