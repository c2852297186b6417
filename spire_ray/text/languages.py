"""Languages by ISO 639-1 code: an open registry, `configs/languages.yaml`, which the package carries as a link.

`SPIRE_LANGUAGES` names a file of your own, whose lines are added. The ten of TOWER and SPIRE are filled in.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from spire_ray.core import carried


@dataclass(frozen=True)
class Language:
    """One language."""

    code: str
    name: str
    """English name, as it stands in prompts: `German: …`."""
    iso_639_3: str = ""
    """Code of three letters, where data uses it."""
    error_rate: Literal["wer", "cer"] = "wer"
    """What the error rate of a transcript counts: words, or characters where words are not written apart."""
    normalizer: Literal["english", "basic"] = "basic"
    """Which of Whisper's normalizers a transcript passes before it is scored."""
    spaces: bool = True
    """Whether words are written apart, and so are pieces of a text that are joined."""
    sacrebleu: str = "13a"
    """Tokenizer of sacrebleu for BLEU other than spBLEU."""

    def join(self, texts: Iterable[str]) -> str:
        """Pieces of a text as one."""
        return (" " if self.spaces else "").join(filter(None, (text.strip() for text in texts)))


@cache
def registry() -> dict[str, Language]:
    """All languages by code. Raises ValueError for a file that is not as described."""
    own = os.environ.get("SPIRE_LANGUAGES")
    return _read(carried.FOLDER / "languages.yaml") | (_read(Path(own)) if own else {})


def _read(path: Path) -> dict[str, Language]:
    data = yaml.safe_load(path.read_text())
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a line `CODE: {{name: …}}` for each language")
    known = {field.name for field in fields(Language)} - {"code"}
    languages = {}
    for code, described in data.items():
        if not isinstance(code, str) or not isinstance(described, dict) or not {"name"} <= set(described) <= known:
            raise ValueError(f"{path}: {code}: expected {{name: …}} and any of {', '.join(sorted(known))}; quote the code `no`")
        languages[code] = Language(code, **described)
    return languages


def find(code_or_name: str) -> Language | None:
    """A language by either code, in any case and with any region or script (`en-US`, `zh_Hant`), or by its English name."""
    wanted = code_or_name.strip().lower()
    code = wanted.replace("_", "-").partition("-")[0]
    for known in registry().values():
        if code and (wanted == known.name.lower() or code in (known.code, known.iso_639_3)):
            return known
    return None


def language(code_or_name: str) -> Language:
    """As `find`. Raises ValueError for an unknown one, with the line to add."""
    if known := find(code_or_name):
        return known
    wanted = code_or_name.strip().lower()
    code = wanted if len(wanted) == 2 else "xx"
    raise ValueError(
        f"language {code_or_name!r} is unknown; known are {', '.join(registry())} and their English names. To add it: "
        f"`{code}: {{name: …, error_rate: wer, normalizer: basic, sacrebleu: 13a}}` in a file that SPIRE_LANGUAGES names"
    )
