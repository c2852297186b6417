"""One line of progress: rewritten in place on a terminal, printed every few seconds elsewhere."""

import sys
import time

_EVERY_SECONDS = 0.5
_EVERY_SECONDS_IN_A_LOG = 5.0


class Progress:
    """The progress line of a job."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = time.monotonic()
        self._shown = 0.0
        self._terminal = sys.stdout.isatty()
        self._open = False
        self._line = ""

    def update(self, done: float, total: float, text: str) -> None:
        """Show `text` with the share done and the time left; quiet between two intervals."""
        now = time.monotonic()
        if now - self._shown < (_EVERY_SECONDS if self._terminal else _EVERY_SECONDS_IN_A_LOG) and done < total:
            return
        self._shown = now
        left = round((now - self._began) * max(total - done, 0) / done) if done else 0
        line = f"{self._name:>12}  {100 * done / total if total else 100:3.0f} %  {text}  ETA {left // 60}:{left % 60:02}"
        if line == self._line:
            return
        self._line = line
        print(f"\r{line:<100}" if self._terminal else line, end="" if self._terminal else "\n", flush=True)
        self._open = self._terminal

    def close(self) -> None:
        """End the line."""
        if self._open:
            print(flush=True)
            self._open = False
