"""The card of an exported model: what it is, what it was made of, and how to call it."""

from dataclasses import dataclass, field
from typing import Any

import yaml


@dataclass(frozen=True)
class Card:
    """What the card says."""

    name: str
    base: str
    licenses: dict[str, str]
    """Of base model, data and other models, by what they are of."""
    license: str
    """The strictest of them."""
    languages: tuple[str, ...]
    step: int
    pack: dict[str, Any]
    """`index.json` of the pack."""
    metrics: dict[str, float] = field(default_factory=dict)

    def markdown(self) -> str:
        """The whole `README.md`."""
        head = {
            **({"license": self.license} if self.license else {}),
            **({"language": list(self.languages)} if self.languages else {}),
            "base_model": self.base,
            "datasets": [source["name"] for source in self.pack.get("sources", ())],
            "library_name": "transformers",
            "pipeline_tag": "automatic-speech-recognition",
            "tags": ["speech", "speech-translation", "discrete-units", "spire"],
        }
        parts = [f"---\n{yaml.safe_dump(head, sort_keys=False)}---", f"# {self.name}", self._about(), self._data()]
        return "\n\n".join([*parts, *self._fingerprint(), *self._metrics(), *self._licenses(), self._use()]) + "\n"

    def _about(self) -> str:
        return (
            f"A text model that hears: `{self.base}` with discrete speech units in its vocabulary, trained to step {self.step} "
            "by spire-ray after SPIRE (arXiv 2503.10620). Speech goes in as units, text comes out."
        )

    def _data(self) -> str:
        rows = "\n".join(f"| {source['name']} | {source.get('documents', '')} |" for source in self.pack.get("sources", ()))
        total = (
            f"{self.pack.get('tokens', 0):,} tokens in {self.pack.get('rows', 0):,} rows of {self.pack.get('sequence_length')}."
        )
        return f"## Data\n\n| source | documents |\n|---|---|\n{rows}\n\n{total}"

    def _fingerprint(self) -> list[str]:
        fingerprint = self.pack.get("fingerprint")
        if not fingerprint:
            return []
        lines = "\n".join(f"| {key} | `{value}` |" for key, value in fingerprint.get("identity", fingerprint).items())
        told = "Only units of this identity are understood; the codebook is in `codebook/`."
        return [f"## Units\n\n{told}\n\n| | |\n|---|---|\n{lines}"]

    def _metrics(self) -> list[str]:
        lines = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(self.metrics.items()))
        return [f"## Training\n\n| | |\n|---|---|\n{lines}"] if lines else []

    def _licenses(self) -> list[str]:
        lines = "\n".join(f"| {what} | {license} |" for what, license in self.licenses.items() if license)
        return [f"## Licenses\n\nThe strictest of these holds.\n\n| of | license |\n|---|---|\n{lines}"] if lines else []

    def _use(self) -> str:
        return "## Use\n\n```bash\nspire transcribe clip.wav --model .\n```"
