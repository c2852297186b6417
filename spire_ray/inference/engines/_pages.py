"""Room in a paged cache, given out before it is needed."""

import asyncio
import threading
from collections import deque
from concurrent.futures import Future


class Pages:
    """Counts pages; who finds too few free waits, first come, first served. Of any thread and event loop."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    async def take(self, number: int) -> None:
        """Wait for pages. Raises ValueError for more than there are."""
        if number > self.total:
            raise ValueError(f"a prompt and its answer of {number} pages do not fit into a cache of {self.total}")
        place: Future[None] = Future()
        with self._lock:
            self._waiting.append((number, place))
            self._serve()
        try:
            await asyncio.wrap_future(place)
        except asyncio.CancelledError:
            with self._lock:
                if (number, place) in self._waiting:
                    self._waiting.remove((number, place))
                else:  # they had just been given
                    self._free += number
                self._serve()
            raise

    def give(self, number: int) -> None:
        """Hand pages back."""
        with self._lock:
            self._free += number
            self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            number, place = self._waiting.popleft()
            self._free -= number
            if place.set_running_or_notify_cancel():
                place.set_result(None)
            else:
                self._free += number
