"""Every row of a job by shards accounted for.

What each part file holds is compared with the rows that its shard was planned from, one shard at a time.
"""

import argparse
import json
from collections.abc import Sequence

from spire_ray.core import command, provenance, storage
from spire_ray.tools import _audit_answers, _audit_labels, _audit_prepared, _audit_units

FAULTS_FOUND = 1
_AUDITS = {
    "prepare": _audit_prepared.tell,
    "label": _audit_units.tell,
    "pseudo_label": _audit_labels.tell,
    "generate": _audit_answers.tell,
    "evaluate": _audit_answers.tell,
}


@command.cli_errors("audit")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool: prints the account and writes `audit.json`; the status is 1 if rows are lost."""
    parser = argparse.ArgumentParser("spire audit", description="Account for every row of a job by shards.")
    parser.add_argument("folder", help="output folder of the stage prepare, label, pseudo_label, generate or evaluate")
    folder = parser.parse_args(arguments).folder
    stage = provenance.read(folder, *_AUDITS)["stage"]
    found, account, lines = _AUDITS[stage](folder)
    storage.write_bytes(storage.join(folder, "audit.json"), json.dumps(account, indent=1).encode())
    for line in lines:
        print(line)
    return FAULTS_FOUND if found.faults else 0
