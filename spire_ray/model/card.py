"""The card of an exported model: what it is, what it was made of, and how to call it."""

import json
from dataclasses import dataclass, field
from typing import Any

import yaml

from spire_ray.text import prompts
from spire_ray.text.record import Record

_PAPER = "From Tower to Spire: Adding the Speech Modality to a Translation-Specialist LLM"


@dataclass(frozen=True)
class Card:
    """What the card says."""

    name: str
    base: str
    """Id on the Hub of the model that it was made of; empty where there is none."""
    licenses: dict[str, str]
    """Of base model, data and other models, by what they are of."""
    license: str
    """The strictest of them."""
    languages: tuple[str, ...]
    step: int
    pack: dict[str, Any]
    """`index.json` of the pack."""
    record: Record
    """What the folder says of itself."""
    metrics: dict[str, float] = field(default_factory=dict)

    def markdown(self) -> str:
        """The whole `README.md`."""
        head = {
            **({"license": self.license} if self.license else {}),
            **({"language": list(self.languages)} if self.languages else {}),
            **({"base_model": self.base} if self.base else {}),
            **({"datasets": datasets} if (datasets := self.pack.get("datasets")) else {}),
            "library_name": "transformers",
            "pipeline_tag": "automatic-speech-recognition" if self.record.units else "text-generation",
            "tags": ["speech", "speech-translation", "discrete-units", "spire"] if self.record.units else ["spire"],
        }
        parts = [f"---\n{yaml.safe_dump(head, sort_keys=False)}---", f"# {self.name}", self._about(), self._data()]
        return "\n\n".join([*parts, *self._fingerprint(), *self._metrics(), *self._licenses(), self._use()]) + "\n"

    def _about(self) -> str:
        made, heard = f"`{self.base}`" if self.base else "A language model", ""
        if self.record.units:
            made += " with discrete speech units in its vocabulary"
            heard = " It hears: speech goes in as units, text comes out."
        return (
            f"{made}, trained to step {self.step} by spire-ray after SPIRE (Ambilduke et al., *{_PAPER}*, "
            f"Findings of EMNLP 2025, arXiv 2503.10620).{heard}"
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
        call = "```bash\nspire transcribe clip.wav --model .\n```\n\nor, " if self.record.units else ""
        asked = "asked in its chat format" if self.record.form == "it" else "a base model, which continues text"
        return f"## Use\n\n{call}{asked}, with transformers:\n\n```python\n{snippet(self.record)}```"


def snippet(record: Record) -> str:
    """Python that asks a model with transformers in the form it was trained in."""
    style = prompts.STYLES[record.prompts]
    lines = ["from transformers import AutoModelForCausalLM, AutoTokenizer", ""]
    lines += ['tokenizer, model = (kind.from_pretrained(".") for kind in (AutoTokenizer, AutoModelForCausalLM))']
    if record.units:
        word = "chr(0xF0000 + unit)" if record.units.surface == "pua" else 'f"<extra_id_{unit}>"'
        lines += ["units = [3, 1, 4]  # of the codebook in codebook/, runs of one unit collapsed"]
        lines += [f'speech = "".join({word} for unit in units)']
        asked = prompts.asr_prompt(style=style) if record.form == "it" else prompts.asr_completion(style=style)
    else:
        asked = (prompts.mt_prompt if record.form == "it" else prompts.mt_completion)("the dog", "en", "de")
    text = "f" + json.dumps(asked.replace(prompts.SPEECH, "{speech}"), ensure_ascii=False)
    if record.form == "it":
        lines += [f'question = [{{"role": "user", "content": {text}}}]']
        lines += [
            'asked = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=True, return_tensors="pt")'
        ]
    else:
        lines += [f'asked = tokenizer({text}, return_tensors="pt"{", add_special_tokens=False" if record.bare else ""})']
    lines += ["answer = model.generate(**asked, max_new_tokens=256)[0, asked.input_ids.shape[1] :]"]
    return "\n".join([*lines, "print(tokenizer.decode(answer, skip_special_tokens=True))", ""])
