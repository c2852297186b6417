"""The card of an exported model and the license on it."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from spire_ray.model.card import Card
from spire_ray.model.license import license, strictest
from spire_ray.text.record import Record

PACK = {
    "sources": [{"name": "asr.en", "documents": 12}, {"name": "mt.en-de", "documents": 5}],
    "fingerprint": {"identity": {"encoder": "hubert", "layer": 22, "codebook": "abc"}},
    "rows": 9,
    "sequence_length": 2048,
    "tokens": 18_000,
    "datasets": ["facebook/multilingual_librispeech"],
}
RECORD = Record(form="it", bos=1, eos=2, terminator=2, tokenizer="t")
CARD = Card(
    name="SpireToy",
    base="Unbabel/TowerBase-7B-v0.1",
    licenses={"base model": "apache-2.0", "MLS": "cc-by-4.0", "QE": "cc-by-nc-4.0"},
    license="cc-by-nc-4.0",
    languages=("en", "de"),
    step=400,
    pack=PACK,
    record=RECORD,
    metrics={"loss": 1.25, "held_out/asr.en": 0.5},
)


def test_the_head_is_what_the_hub_reads(tmp_path):
    (tmp_path / "README.md").write_text(CARD.markdown())
    head = yaml.safe_load(CARD.markdown().split("---\n")[1])
    assert head["license"] == license(str(tmp_path)) == "cc-by-nc-4.0"
    assert head["base_model"] == "Unbabel/TowerBase-7B-v0.1"
    assert head["language"] == ["en", "de"]
    assert head["datasets"] == ["facebook/multilingual_librispeech"]


def test_what_is_of_no_hub_is_not_named_as_if_it_were(tmp_path):
    text = replace(CARD, base="", pack={**PACK, "datasets": []}).markdown()
    assert not {"base_model", "datasets"} & yaml.safe_load(text.split("---\n")[1]).keys()


def test_the_paper_is_cited_by_the_title_it_was_published_under():
    title = "From Tower to Spire: Adding the Speech Modality to a Translation-Specialist LLM"
    assert title in CARD.markdown() and "EMNLP 2025" in CARD.markdown()
    assert title in Path(__file__).parents[2].joinpath("CITATION.cff").read_text()


def test_the_text_names_data_units_metrics_and_every_license():
    text = CARD.markdown()
    for line in (
        "| asr.en | 12 |",
        "| layer | `22` |",
        "| held_out/asr.en | 0.5 |",
        "| QE | cc-by-nc-4.0 |",
        "step 400",
        "18,000",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ""),
        (["", "apache-2.0"], "apache-2.0"),
        (["MIT", "apache-2.0", "cc-by-4.0"], "cc-by-4.0"),
        (["cc-by-nc-4.0", "llama2", "cc-by-sa-4.0"], "cc-by-nc-4.0"),
        (["cc-by-nc-4.0", "cc-by-nc-nd-4.0"], "cc-by-nc-nd-4.0"),
        (["apache-2.0", "gigaspeech terms"], "other"),
    ],
)
def test_the_strictest_license_holds(given, expected):
    assert strictest(given) == expected
