"""The stage label, noting in the file SPIRE_TEST_NOTES which shards are decoded, begun and done: for tests that count what is
done twice. The lines of one run are appended to those of the runs before it. The disk is full for the parts of the shards from
SPIRE_TEST_FULL_FROM on, the shard SPIRE_TEST_FATAL kills whoever labels it, each takes SPIRE_TEST_PAUSE seconds longer, and the
driver's lock has a clock that is SPIRE_TEST_CLOCK seconds ahead."""

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from spire_ray import cli
from spire_ray.core import lock
from spire_ray.shards import decoding, marks
from spire_ray.stages import label

NOTES = os.environ["SPIRE_TEST_NOTES"]
FULL_FROM = float(os.environ["SPIRE_TEST_FULL_FROM"])
PAUSE = float(os.environ.get("SPIRE_TEST_PAUSE", "0"))
AHEAD = float(os.environ.get("SPIRE_TEST_CLOCK", "0"))
FATAL = int(os.environ.get("SPIRE_TEST_FATAL", "-1"))


def note(what, batch):
    with open(NOTES, "a") as file:
        file.write(f"{what} {batch['shard'][0].as_py()}\n")


def fill(part):
    """Let `storage.write_bytes` write the file to Linux's device that is always full."""
    part.with_name(f".{part.name}.{os.getpid()}").symlink_to("/dev/full")


class Decode:
    def __init__(self, settings):
        self.settings = settings

    @staticmethod
    def of(settings):
        return Decode(settings)

    def __call__(self, batch):
        return self.shard(batch).to_table()

    def shard(self, batch):
        from spire_ray.shards.decoding import Decode as Product  # in a worker this is the product's own

        note("decoded", batch)
        return Product.of(self.settings).shard(batch)


class LabelShard:
    def __init__(self, settings, *arguments):
        from spire_ray.stages.label import LabelShard as Product

        self.inner, self.output = Product(settings, *arguments), settings.output

    def __call__(self, batch):
        note("begun", batch)
        shard = batch["shard"][0].as_py()
        if shard >= FULL_FROM:
            fill(Path(marks.part(self.output, shard)))
        if shard == FATAL:
            self.inner._label = lambda batch: os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(PAUSE)
        counted = self.inner(batch)
        note("done", batch)
        return counted


if __name__ == "__main__":
    lock.time = SimpleNamespace(time=lambda: time.time() + AHEAD, monotonic=time.monotonic, sleep=time.sleep)
    decoding.Decode, label.LabelShard = Decode, LabelShard
    sys.exit(cli.main(["label", *sys.argv[1:]]))
