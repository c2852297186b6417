"""Every reason that audio is rejected with stands in the documents, as it is counted."""

import re
from pathlib import Path

from spire_ray.shards import account
from tests.conftest import ROOT

RAISED = re.compile(r"""AudioError\(f?"([^"]+)"\)""")


def test_every_reason_is_explained():
    table = (ROOT / "docs" / "label.md").read_text().partition("## Rows that are rejected")[2].partition("\n## ")[0]
    documented = set(re.findall(r"`([^`]+)`", table))
    sources = [path.read_text() for folder in ("audio", "shards") for path in Path(ROOT, "spire_ray", folder).glob("*.py")]
    reasons = {reason for source in sources for reason in RAISED.findall(source) if not reason.startswith("{NEEDED}")}
    reasons = {reason.replace("{name} is", "offset is").replace("negative {name}", "negative offset") for reason in reasons}
    kinds = {re.sub(r"(… ?)+", "… ", account.reason(re.sub(r"{[^{}:]*(:[^{}]*)?}", "0", reason))).strip() for reason in reasons}
    assert len(kinds) > 20 and sorted(kinds - documented) == []
