"""One line of progress: rewritten in place on a terminal, printed every few seconds elsewhere."""

import math
import sys
import time

_EVERY_SECONDS = 0.5
_EVERY_SECONDS_IN_A_LOG = 5.0


class Progress:
    """The progress line of a job."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._first: tuple[float, float] | None = None
        """When the first news came, and how much was done."""
        self._shown = -math.inf
        self._terminal = sys.stdout.isatty()
        self._open = False
        self._news: tuple[float, float, str] | None = None
        self._came = 0.0
        self._told = False

    def update(self, done: float, total: float, text: str, left: float | None = None) -> None:
        """Show `text` with the share done and the seconds left; quiet between two intervals, and while nothing is new.

        Without `left` it follows from the speed between the first news and the last: a start is no speed.
        """
        now = time.monotonic()
        interval = _EVERY_SECONDS if self._terminal else _EVERY_SECONDS_IN_A_LOG
        if (done, total, text) != self._news:
            self._news, self._came, self._told = (done, total, text), now, False
            self._first = self._first or (now, done)
        if self._told or (now - self._shown < interval and done < total):
            return
        self._shown, self._told = now, True
        line = f"{self._name:>12}  {100 * done / total if total else 100:3.0f} %  {text}"
        if left is None:
            left = self._left(done, total)
        if left is not None:
            minutes, seconds = divmod(round(left), 60)
            line += f"  ETA {minutes}:{seconds:02}"
        print(f"\r{line:<100}" if self._terminal else line, end="" if self._terminal else "\n", flush=True)
        self._open = self._terminal

    def _left(self, done: float, total: float) -> float | None:
        assert self._first is not None
        began, before = self._first
        if done >= total:
            return 0
        return (self._came - began) * (total - done) / (done - before) if done > before else None

    def close(self) -> None:
        """End the line."""
        if self._open:
            print(flush=True)
            self._open = False
