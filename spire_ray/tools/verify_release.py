"""The published SpireFull against figures that others measured of it, where its files are at hand."""

import argparse
from collections.abc import Sequence

from spire_ray.core import carried, command, storage

_WANTED = {
    "codebook/codebook.json": "fetch utter-project/SpireKMeans (CC-BY-NC-4.0), then spire units import FILE {root}/codebook "
    "--encoder facebook/hubert-large-ll60k --layer 22 --trust-pickle",
    "models/SpireFull/spire.json": "fetch utter-project/SpireFull (CC-BY-NC-4.0) into {root}/models/SpireFull, then "
    "spire units adopt {root}/models/SpireFull {root}/codebook",
    "corpora/covost2": "Common Voice 4 with CoVoST 2's files, then spire data fetch covost2 (spire data show covost2)",
    "corpora/evaluation/fleurs": "spire fetch --config configs/spire/evaluation.yaml root={root}",
}
"""Below the root → how it is made."""


@command.cli_errors("verify-release")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status, 2 where files are missing."""
    parser = argparse.ArgumentParser("spire verify_release", description="Run SpireFull against its published figures.")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the recipe: root=FOLDER, units.covost2.workers=1")
    parser.add_argument("--address", default="", metavar="URL", help="submit it to this Ray dashboard")
    options = parser.parse_intermixed_args(arguments)
    from spire_ray.recipes import runner
    from spire_ray.tools import run

    path = str(carried.FOLDER / "release" / "verify.yaml")
    root = runner.load(path, options.overrides).root
    missing = [(name, how) for name, how in _WANTED.items() if not storage.exists(storage.join(root, name))]
    for name, how in missing:
        print(f"{storage.join(root, name)} is not there: {how.format(root=root)}")
    if missing:
        return command.USER_ERROR
    return run.main([path, *options.overrides, *(["--address", options.address] if options.address else [])])
