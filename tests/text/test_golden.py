"""Golden files: every form of the paper and of the released code, byte for byte and token id for token id.

`python tests/text/test_golden.py` writes them anew. A changed golden file means that models trained before do not answer.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from spire_ray.text import prompts
from spire_ray.text.prompts import STYLES, Turn
from spire_ray.units import codec

GOLDEN = Path(__file__).parent / "golden"
UNITS = np.array([0, 17, 4999], np.uint16)
EN, DE = "The dog sleeps.", "Der Hund schläft."


def forms(style):
    """Name → spans of every form in one style."""
    asr = prompts.asr_prompt("en", style)
    shot = prompts.completion(prompts.asr_prompt("en", style), EN, np.array([5], np.uint16))
    pair = prompts.completion(prompts.mt_completion("A cat.", "en", "de"), "Eine Katze.")
    return {
        "cpt.asr": prompts.completion(prompts.asr_completion("en", style), EN, UNITS),
        "cpt.asr.portuguese": prompts.completion(prompts.asr_completion("pt", style), "O cão dorme.", UNITS),
        "cpt.mt": prompts.completion(prompts.mt_completion(EN, "en", "de"), DE),
        "it.asr": prompts.chat([Turn(asr, EN)], UNITS),
        "it.st": prompts.chat([Turn(prompts.st_prompt("de", style), DE)], UNITS),
        "it.st_multiturn": prompts.chat(prompts.multiturn(EN, DE, "en", "de"), UNITS),
        "it.mt": prompts.chat([Turn(prompts.mt_prompt(EN, "en", "de"), DE)]),
        "it.towerblocks": prompts.chat([Turn("Correct: teh dog", "the dog"), Turn("And: dgo\n{x}", "dog")]),
        "it.system": prompts.chat([Turn("Correct: teh dog", "the dog")], system="Be brief."),
        "ask.asr": prompts.chat([Turn(asr)], UNITS),
        "ask.st": prompts.chat([Turn(prompts.st_prompt("zh", style))], UNITS),
        "ask.st_multiturn": prompts.chat(prompts.multiturn(EN, "", "en", "de"), UNITS),
        "base.asr": prompts.prompt(asr, UNITS),
        "base.mt": prompts.prompt(prompts.mt_completion(EN, "en", "de")),
        "base.mt.5-shot": prompts.few_shot([pair] * 5, prompts.prompt(prompts.mt_completion(EN, "en", "de"))),
        "base.asr.1-shot": prompts.few_shot([shot], prompts.prompt(asr, UNITS)),
    }


def text(spans):
    return "".join(span.text if span.units is None else codec.encode(span.units, "extra_id") for span in spans)


def described(spans):
    parts = [span.text for span in spans if span.answer]
    answers = [answer + closing for answer, closing in zip(parts[::2], parts[1::2], strict=True)]
    return {"text": text(spans), "answers": answers} if answers else {"text": text(spans)}


@pytest.mark.parametrize("name", STYLES)
def test_every_form_is_the_golden_one(name):
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    assert {form: described(spans) for form, spans in forms(STYLES[name]).items()} == golden


def test_the_styles_differ_where_the_sources_do_and_nowhere_else():
    old, new = (json.loads((GOLDEN / f"{name}.json").read_text()) for name in ("spire-2025", "spire-2026"))
    changed = {form for form in old if old[form] != new[form]}
    assert changed == {
        "cpt.asr", "cpt.asr.portuguese", "it.asr", "it.st", "ask.asr", "ask.st", "base.asr", "base.asr.1-shot",
    }  # fmt: skip
    for form in changed:
        assert old[form]["text"].replace(" ", "") == new[form]["text"].replace(" ", "")


def ids(folder):
    """Token ids of every form in the released style, by a tokenizer that is made the same way each time."""
    from spire_ray.model.extend import extend
    from spire_ray.settings import ExtendModelSettings
    from spire_ray.text.tokenizer import SpeechTokenizer
    from spire_ray.units.fingerprint import Fingerprint, Identity
    from tests.model import families

    base = families.make("llama-2", folder / "base")
    identity = Identity(encoder="e", weights="w", layer=22, norm="none", waveform="none", frame_rate=50, clusters=5000)
    settings = ExtendModelSettings(model="", codebook="", output="", preset="spire-7b")
    extend(base, str(folder / "model"), Fingerprint(identity=identity), settings)
    tokenizer = SpeechTokenizer(str(folder / "model"))
    made = forms(STYLES["spire-2026"])
    return {form: tokens.tolist() for form, (tokens, _) in zip(made, tokenizer.encode(list(made.values())), strict=True)}


def test_the_token_ids_are_the_golden_ones(tmp_path):
    assert ids(tmp_path) == json.loads((GOLDEN / "token_ids.json").read_text())


if __name__ == "__main__":
    import sys
    import tempfile

    sys.path.insert(0, str(Path(__file__).parents[2]))
    GOLDEN.mkdir(exist_ok=True)
    for name in STYLES:
        style = STYLES[name]
        made = {form: described(spans) for form, spans in forms(style).items()}
        (GOLDEN / f"{name}.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"{json.dumps(form)}: {json.dumps(tokens)}" for form, tokens in ids(Path(folder)).items()]
        (GOLDEN / "token_ids.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
