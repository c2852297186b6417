"""A system for tests: it repeats what it is told, says in SPIRE_TEST_NOTES what it was asked, and the row that SPIRE_TEST_FATAL
names kills its process as often as there are files `deadly-*` beside the notes."""

import os
import signal
import time
from pathlib import Path

from spire_ray.evaluation.systems import SYSTEMS, Answer, SystemKind


class Fragile:
    def __init__(self, model, settings):
        self.notes = Path(os.environ["SPIRE_TEST_NOTES"])

    def asked(self, request):
        return "fragile"

    def answer(self, requests):
        for number, request in enumerate(requests):
            with open(self.notes, "a") as file:
                file.write(f"{request.row.utt_id}\n")
            deadly = sorted(self.notes.parent.glob("deadly-*"))
            if number == 1 and deadly and request.row.utt_id == os.environ.get("SPIRE_TEST_FATAL"):
                deadly[0].unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return [Answer(request.text.upper(), tokens=1) for request in requests]


SYSTEMS.register("fragile", SystemKind(load=Fragile, skills=("mt",), weights=False))
