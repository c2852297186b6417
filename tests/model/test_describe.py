"""An exported folder says what training made of it, to this platform and to Hugging Face."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from spire_ray.model.card import snippet
from spire_ray.model.describe import describe
from spire_ray.model.extend import extend
from spire_ray.settings import ExtendModelSettings
from spire_ray.text import prompts, record
from spire_ray.text.prompts import Turn
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.units import codec
from spire_ray.units.fingerprint import Fingerprint, Identity
from tests.model import families

UNITS = np.array([3, 1, 4], np.uint16)
IDENTITY = Identity(encoder="e", weights="w", layer=22, norm="none", waveform="none", frame_rate=50, clusters=20)
CPT = {
    "sources": [{"name": "asr", "task": "asr", "format": "cpt"}, {"name": "text", "task": "text", "format": "cpt"}],
    "prompts": "spire-2025",
    "directions": ["asr.en", "mt.en-de"],
    "longest": {"units": 90, "seconds": 3.5},
}
IT = {
    "sources": [{"name": "st", "task": "st", "format": "it"}],
    "prompts": "spire-2026",
    "directions": ["st.en-de"],
    "longest": {"units": 70, "seconds": 2.5},
}


KINDS = [(family, "chatml") for family in families.FAMILIES] + [(f, "keep") for f in families.FAMILIES[1:] if f != "eurollm"]


@pytest.fixture(scope="module", params=KINDS)
def exported(request, tmp_path_factory):
    """The folders of a family after CPT and then IT, weights as they were."""
    family, chat = request.param
    folder = tmp_path_factory.mktemp(family)
    base = families.make(family, folder / "base")
    fingerprint, preset = Fingerprint(identity=IDENTITY), "spire-7b" if family == "llama-2" else "plain"
    settings = ExtendModelSettings(model="", codebook="", output="", chat=chat, preset=preset)
    extend(base, str(folder / "extended"), fingerprint, settings)
    shutil.copytree(folder / "extended", folder / "cpt")
    describe(str(folder / "cpt"), CPT)
    shutil.copytree(folder / "cpt", folder / "it")
    describe(str(folder / "it"), IT)
    return folder


def test_the_record_tells_what_was_trained_and_adds_up(exported):
    cpt, it = (record.load(str(exported / name)) for name in ("cpt", "it"))
    assert (cpt.form, cpt.prompts, cpt.directions) == ("cpt", "spire-2025", ("asr.en", "mt.en-de"))
    assert (it.form, it.prompts, it.directions) == ("it", "spire-2026", ("asr.en", "mt.en-de", "st.en-de"))
    assert (cpt.longest_units, cpt.longest_seconds) == (it.longest_units, it.longest_seconds) == (90, 3.5)
    before = record.load(str(exported / "extended"))
    kept = [(r.bos, r.eos, r.terminator, r.tokenizer, r.units) for r in (before, cpt, it)]
    assert kept[0] == kept[1] == kept[2]


def test_an_instructed_model_ends_at_the_end_of_its_turn_by_every_file(exported):
    folder = str(exported / "it")
    tokenizer, ours = AutoTokenizer.from_pretrained(folder), SpeechTokenizer(folder)
    closing = ours.chat.closing.strip()
    assert tokenizer.eos_token == closing
    assert AutoConfig.from_pretrained(folder).eos_token_id == tokenizer.eos_token_id == ours.text.token_to_id(closing)
    assert tokenizer.pad_token_id == ours.eos
    ends = GenerationConfig.from_pretrained(folder).eos_token_id
    assert set([ends] if isinstance(ends, int) else ends) == ours.stops
    assert ours.record == record.load(folder)  # the tokenizer is still the one that was recorded


def test_a_base_model_keeps_its_end_and_whoever_continues_with_it_ends_with_its_documents(exported):
    folder = str(exported / "cpt")
    ours = SpeechTokenizer(folder)
    assert AutoTokenizer.from_pretrained(folder).eos_token == AutoTokenizer.from_pretrained(str(exported / "base")).eos_token
    ends = GenerationConfig.from_pretrained(folder).eos_token_id
    assert ours.end in ([ends] if isinstance(ends, int) else ends)


@pytest.mark.parametrize("name", ["cpt", "it"])
def test_the_snippet_of_the_card_asks_with_the_ids_that_were_trained(exported, name, monkeypatch):
    from spire_ray.inference.tasks import spoken

    folder = str(exported / name)
    tokenizer = SpeechTokenizer(folder)
    monkeypatch.chdir(folder)
    asking = snippet(tokenizer.record).partition("answer =")[0].replace(", AutoModelForCausalLM", ", AutoConfig")
    names = {}
    exec(asking.replace("AutoModelForCausalLM", "AutoConfig"), names)
    [expected] = tokenizer.asked([spoken(tokenizer, UNITS)])
    assert names["asked"]["input_ids"][0].tolist() == expected.tolist()


def test_the_released_ids_end_the_released_model(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    families.sentencepiece_model(base, pieces=32_000)
    import torch
    from safetensors.torch import save_file

    (base / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 32_000}))
    weights = {name: torch.randn(32_000, 4) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    save_file(weights, base / "model.safetensors")
    fingerprint = Fingerprint(identity=Identity(**{**IDENTITY.__dict__, "clusters": 5000}))
    extend(str(base), str(tmp_path / "it"), fingerprint, ExtendModelSettings(model="", codebook="", output="", preset="spire-7b"))
    describe(str(tmp_path / "it"), IT)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "it")
    assert AutoConfig.from_pretrained(tmp_path / "it").eos_token_id == tokenizer.eos_token_id == 37_005
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == ("<|im_end|>", "</s>", "<s>")
    assert json.loads(Path(tmp_path / "it" / "generation_config.json").read_text())["eos_token_id"] == [2, 32_001, 37_005]


def test_what_is_asked_of_a_base_model_is_what_its_documents_begin_with(exported):
    from spire_ray.inference.tasks import spoken, written

    for name, packed in (("cpt", CPT), ("it", IT)):
        tokenizer = SpeechTokenizer(str(exported / name))
        style = prompts.STYLES[packed["prompts"]]
        if name == "cpt":
            trained = [
                prompts.completion(prompts.asr_completion("en", style), "the dog", UNITS),
                prompts.completion(prompts.mt_completion("the dog", "en", "de"), "der Hund"),
            ]
        else:
            trained = [
                prompts.chat([Turn(prompts.asr_prompt("en", style), "the dog")], UNITS, tokenizer.chat),
                prompts.chat([Turn(prompts.mt_prompt("the dog", "en", "de"), "der Hund")], markup=tokenizer.chat),
            ]
        asked = tokenizer.asked([spoken(tokenizer, UNITS), written(tokenizer, "the dog", "en", "de")])
        for prompt, document in zip(asked, tokenizer.asked(trained), strict=True):
            assert prompt.tolist() == document[: len(prompt)].tolist(), codec.encode(UNITS)
