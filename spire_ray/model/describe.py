"""An exported folder says what its training made of it: in `spire.json`, and to Hugging Face and vLLM in their own files."""

import json
from pathlib import Path
from typing import Any

from spire_ray.text import record
from spire_ray.text.record import Record
from spire_ray.text.tokenizer import SpeechTokenizer


def describe(folder: str, index: dict[str, Any]) -> Record:
    """Write the record of a local folder whose model was trained on the pack of `index`; returns it.

    As the released models do, an instructed one names the end of its turn as its EOS, in tokenizer and configuration, and
    pads with the end of documents. Whoever generates with either ends at every token that ends an answer.
    """
    found = record.trained(record.of(folder), index)
    found.save(folder)
    tokenizer = SpeechTokenizer(folder)
    config = _read(folder, "config.json")
    generation = {**_read(folder, "generation_config.json"), "eos_token_id": sorted(tokenizer.stops)}
    if found.form == "it":
        closing = tokenizer.chat.closing.strip()
        config |= {"eos_token_id": tokenizer.text.token_to_id(closing), "pad_token_id": found.eos}
        generation["pad_token_id"] = found.eos
        named = {"eos_token": closing, "pad_token": tokenizer.text.id_to_token(found.eos)}
        _write(folder, "tokenizer_config.json", _read(folder, "tokenizer_config.json") | named)
        if there := _read(folder, "special_tokens_map.json"):
            _write(folder, "special_tokens_map.json", there | named)
    _write(folder, "config.json", config)
    _write(folder, "generation_config.json", generation)
    return found


def _read(folder: str, name: str) -> dict[str, Any]:
    path = Path(folder) / name
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _write(folder: str, name: str, data: dict[str, Any]) -> None:
    (Path(folder) / name).write_text(json.dumps(data, indent=2, ensure_ascii=False))
