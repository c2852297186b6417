"""An entry of the GPU day whose checks do all that can go wrong."""

import os
import time

from benchmarks.gpu.entry import Absent, Entry

ENTRY = Entry("broken", minutes=0.1)


def run(day):
    """In this order."""
    day.check("good", lambda found: found.at_least("figure", 2.0, 1.0))
    day.check("missed", lambda found: found.at_most("figure", 2.0, 1.0))
    day.check("not a number", lambda found: found.at_least("figure", float("nan"), 1.0))
    day.check("raises", lambda found: 1 / 0)
    day.check("absent", _absent)
    day.check("takes its process along", lambda found: os._exit(9))
    day.check("after it", lambda found: None)
    day.keep_text("profile", "a table")
    day.check("lasts", lambda found: time.sleep(600))


def _absent(found):
    raise Absent("no such card")
