"""A published model with unit tokens, such as SpireFull: recognised by its tokenizer and given its fingerprint."""

import json
from dataclasses import replace
from pathlib import Path

from spire_ray.text import record, tokenizer
from spire_ray.text.record import UnitVocabulary
from spire_ray.text.tokenizer import unit_words
from spire_ray.units.codebook import Codebook


def adopt(model: str, codebook: Codebook) -> UnitVocabulary:
    """Write `spire.json` and the codebook into a local model folder; nothing else in it changes.

    That this codebook made the units of the model's training is asserted, not shown, and the fingerprint says so.
    Raises ValueError for a folder without unit words or rows for them, and for one that has another fingerprint.
    """
    if known := UnitVocabulary.load(model):
        known.fingerprint.require(codebook.fingerprint, f"model={model}", "the codebook")
        return known
    if not (Path(model) / "config.json").exists():
        raise ValueError(f"model={model}: no config.json there; expected a local Hugging Face model folder")
    found = unit_words(tokenizer.load(model).get_vocab())
    if found is None:
        raise ValueError(f"model={model}: its tokenizer holds no unit words; extend it with the stage extend_model")
    first, count, surface = found
    clusters = codebook.fingerprint.identity.clusters
    if count != clusters:
        raise ValueError(f"model={model}: its tokenizer holds {count} unit words, but the codebook has {clusters} clusters")
    rows = json.loads((Path(model) / "config.json").read_text())["vocab_size"]
    if rows < first + count:
        raise ValueError(f"model={model}: vocab_size={rows} has no rows for units that end at id {first + count - 1}")
    fingerprint = replace(codebook.fingerprint, numerics={**codebook.fingerprint.numerics, "asserted": "spire units adopt"})
    vocabulary = UnitVocabulary(first, count, surface, fingerprint)
    codebook.save(str(Path(model) / "codebook"))
    replace(record.derived(model), units=vocabulary).save(model)
    return vocabulary
