"""What a day leaves: one JSON for each entry and its texts, in one archive that is whole at any moment."""

import io
import json
import os
import re
import tarfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1] / "results" / "gpu"
_FIGURES = 6
"""Of a check in the table."""


class Results:
    """The archive `results.tar`: `DATE-CARD/ENTRY.json`, `…/ENTRY.NAME.txt`, `…/summary.md`."""

    def __init__(self, output: Path, card: str, small: bool) -> None:
        self._path = output / "results.tar"
        made = re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")
        self._folder = f"rehearsal-{made}" if small else f"{time.strftime('%Y-%m-%d')}-{made}"
        self._records: dict[str, dict[str, Any]] = {}
        self._files: dict[str, bytes] = {}
        output.mkdir(parents=True, exist_ok=True)

    @property
    def good(self) -> bool:
        """Whether something ran and nothing failed."""
        states = [record["status"] for record in self._records.values()]
        return "passed" in states and "failed" not in states

    def put(self, name: str, record: dict[str, Any], files: dict[str, bytes] | None = None) -> None:
        """Add or replace what is known of an entry, and the archive with it."""
        self._records[name] = record
        self._files |= {f"{name}.{title}": data for title, data in (files or {}).items()}
        held = {f"{name}.json": f"{json.dumps(record, indent=1)}\n".encode() for name, record in self._records.items()}
        held |= self._files | {"summary.md": f"{self.summary()}\n".encode()}
        unfinished = self._path.with_suffix(".part")
        with tarfile.open(unfinished, "w") as archive:
            for title, data in held.items():
                member = tarfile.TarInfo(f"{self._folder}/{title}")
                member.size, member.mtime = len(data), int(time.time())
                archive.addfile(member, io.BytesIO(data))
        os.replace(unfinished, self._path)

    def summary(self) -> str:
        """All of it in Markdown: a line for each check."""
        lines = [*_heading(self._records), "| entry | check | | seconds | GiB | found |", "|---|---|---|---|---|---|"]
        for name, record in self._records.items():
            lines.append(
                f"| **{name}** | {record['about']} | {record['status']} | {record.get('seconds', '')} | | {_reason(record)} |"
            )
            lines += [_line(check) for check in record["checks"]]
        return "\n".join(lines)


def collect(archive: Path, folder: Path = HERE) -> Path:
    """Unpack an archive among the committed results; returns its folder there, where older files of it are gone."""
    with tarfile.open(archive) as opened:
        [name] = {member.name.split("/")[0] for member in opened.getmembers()}
        for old in (folder / name).glob("*"):
            old.unlink()
        opened.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # not in 3.11.2
    return folder / name


def _heading(records: dict[str, dict[str, Any]]) -> list[str]:
    facts = next((record["machine"] for record in records.values()), {})
    versions = ", ".join(f"{name} {number}" for name, number in facts.get("packages", {}).items())
    card = " ".join(
        str(facts[key]) + unit for key, unit in (("card", ""), ("gib", " GiB"), ("driver", " (driver)")) if key in facts
    )
    return [f"# {card}", "", f"Python {facts.get('python')}, {versions}. {facts.get('cores')} cores.", ""]


def _line(check: dict[str, Any]) -> str:
    figures = dict(check.get("figures", {}))
    memory = figures.pop("peak_gib", "")
    found = [f"{name} {_short(value)}" for name, value in figures.items() if not isinstance(value, dict | list)][:_FIGURES]
    found += [f"**{name} {words}**" for name, words in check.get("targets", {}).items()]
    found += [f"**{words}**" for words in check.get("missed", [])]
    reason = check.get("error", "").splitlines()
    told = "; ".join([*found, *reason[-1:]]).replace("|", "\\|")
    return f"| | {check['check']} | {check['status']} | {check.get('seconds', '')} | {memory} | {told} |"


def _reason(record: dict[str, Any]) -> str:
    return record.get("error", "").strip().splitlines()[-1:][0].replace("|", "\\|") if record.get("error", "").strip() else ""


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
