"""The stage label, noting in the file SPIRE_TEST_NOTES which shards are decoded, begun and done: for tests that count what is
done twice. The lines of one run are appended to those of the runs before it."""

import os
import sys

from spire_ray.distributed import label, shards

NOTES = os.environ["SPIRE_TEST_NOTES"]


def note(what, batch):
    with open(NOTES, "a") as file:
        file.write(f"{what} {batch['shard'][0].as_py()}\n")


class Decode:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __call__(self, batch):
        from spire_ray.distributed.shards import Decode as Product  # in a worker this is the product's own

        note("decoded", batch)
        return Product(*self.arguments)(batch)


class LabelShard:
    def __init__(self, settings):
        from spire_ray.distributed.label import LabelShard as Product

        self.inner = Product(settings)

    def __call__(self, batch):
        note("begun", batch)
        counted = self.inner(batch)
        note("done", batch)
        return counted


if __name__ == "__main__":
    shards.Decode, label.LabelShard = Decode, LabelShard
    sys.exit(label.main())
