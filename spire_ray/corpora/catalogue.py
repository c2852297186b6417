"""The data catalogue: one file in `configs/data/` for each corpus that SPIRE was made of or measured on.

It says how a corpus is obtained, under which terms, how its columns are read and its text prepared, and how large it is by
its own account; apart from that, SPIRE's share, in deduplicated units of each audio–target pair (paper, Table 2).
"""

import difflib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from spire_ray.core import carried

UNKNOWN = "unknown"
"""As `hours` or `rows`: a size that was looked for and not found."""
FOLDER = "configs/data"
"""Where a user's own corpora are looked for, beside those that travel with the package."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """One corpus."""

    name: str
    title: str
    use: Literal["speech", "text", "evaluation"]
    license: str
    gated: bool = False
    """Terms have to be accepted before it can be downloaded."""
    hub: str = ""
    """Data set on the Hugging Face Hub, `id@revision` to pin it; empty: see `obtain`."""
    files: str | list[str] = "*.parquet"
    """Files of it that are read; `{split}` stands for the corpus's own name of a split."""
    archive: str = ""
    """Tar on the Hub that holds `files`; empty: they lie there by themselves."""
    obtain: str = ""
    """What to do where it cannot be downloaded by itself."""
    layout: Literal[
        "table", "common-voice", "covost2", "europarl-st", "gigaspeech", "spgispeech", "flores-plus", "tower-eval", "conll"
    ] = "table"
    columns: dict[str, str] = field(default_factory=dict)
    """Column of the manifest, `translations.LANGUAGE` or `extra.NAME` → the corpus's own name, or several as `{a}@{b}`.

    `begin` and `end` in seconds, or `samples` at 16 kHz, make a duration.
    """
    translations_of: str = ""
    """Corpus whose translations a row takes that has the same text in the same language."""
    targets: list[str] = field(default_factory=list)
    """ISO 639-1 codes of the languages that it is translated into; empty: its rows say it."""
    splits: dict[str, str] = field(default_factory=dict)
    """Our split → the corpus's own, or a pattern of several in the names of its files."""
    language: str = ""
    """ISO 639-1; empty: a column says it."""
    preparation: str = "plain-1"
    """How `text` is made of `text_raw`, by name and version."""
    hours: float = 0.0
    """The corpus's own size in training hours, or of all that is used for evaluation; `unknown` is read as 0."""
    rows: int = 0
    """The same in rows."""
    spire_units: float = 0.0
    """SPIRE's share in deduplicated units of each audio–target pair; a mixture target, not the corpus's size."""
    spire_hours: float = 0.0
    """The same in hours, as Table 2 counts them."""
    note: str = ""

    def patterns(self, split: str) -> list[str]:
        """Its files of one of our splits. Raises ValueError for a split that it has not."""
        if self.splits and split not in self.splits and split not in self.splits.values():
            raise ValueError(f"splits: {self.name} has no {split!r}; it has {', '.join(self.splits)}")
        files = [self.files] if isinstance(self.files, str) else self.files
        return [each.format(split=self.splits.get(split, split)) for each in files]


def load(folder: str = FOLDER) -> dict[str, Corpus]:
    """All corpora by name, those of the folder before the package's own.

    Raises ValueError for a named folder without files and for a wrong field, with the file named.
    """
    own = sorted(Path(folder).glob("*.yaml"))
    if not own and folder != FOLDER:
        raise ValueError(f"catalogue={folder}: no corpora there")
    files = {file.name: file for file in [*sorted((carried.FOLDER / "data").glob("*.yaml")), *own]}
    corpora = [_read(files[name]) for name in sorted(files)]
    return {corpus.name: corpus for corpus in corpora}


def corpus(name: str, folder: str = FOLDER) -> Corpus:
    """One corpus. Raises ValueError for an unknown one, with the known named."""
    known = load(folder)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        meant = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
        raise ValueError(f"corpus {name!r} is unknown{meant}")
    return known[name]


def _read(file: Path) -> Corpus:
    from spire_ray.corpora.preparation import PREPARATIONS

    data: Any = yaml.safe_load(file.read_text())
    known = {each.name for each in fields(Corpus)}
    if not isinstance(data, dict) or (wrong := set(data) - known):
        raise ValueError(f"{file}: unknown field {', '.join(sorted(wrong))}; known are {', '.join(sorted(known))}")
    unknown = [key for key in ("hours", "rows") if data.get(key) == UNKNOWN]
    found = Corpus(name=file.stem, **{key: value for key, value in data.items() if key not in ("name", *unknown)})
    if textual := [name for name in ("hours", "rows", "spire_units", "spire_hours") if isinstance(getattr(found, name), str)]:
        raise ValueError(f"{file}: {', '.join(textual)}: not a number; YAML wants 1.2e+9 for 1.2e9")
    if not found.hub and not found.obtain:
        raise ValueError(f"{file}: says neither hub nor obtain")
    if found.preparation not in PREPARATIONS:
        raise ValueError(f"{file}: preparation={found.preparation!r}: known are {', '.join(PREPARATIONS)}")
    return found
