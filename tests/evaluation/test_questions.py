"""What is asked beyond speech: entities, corrections, and examples before a question."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from spire_ray.evaluation import checks, planned, protocols, test_set
from spire_ray.evaluation.systems.llm import LanguageModel
from spire_ray.evaluation.tasks import TASKS, Question
from spire_ray.settings import EvaluatedModel, EvaluateSettings, ShotSettings


def manifest(folder, rows):
    place = folder / "rows.jsonl"
    place.write_text("".join(json.dumps({"audio_filepath": "a.wav", "split": "test"} | row) + "\n" for row in rows))
    return str(place)


def settings(data, model="m", tasks=("mt",), **more):
    models = (EvaluatedModel(name="m", model=model, tasks=tasks),)
    return EvaluateSettings(output="", data=data, models=models, source_language="en", **more)


def asked(model, task, row, form=None):
    from spire_ray.text.tokenizer import SpeechTokenizer

    system = LanguageModel(SimpleNamespace(tokenizer=SpeechTokenizer(model)), form)
    request = TASKS[task].request(Question(row, "de"))
    return "".join(span.text for span in system.prompt(request)), system.asked(request)


def test_entities_are_asked_for_by_tokens_and_held_against_tags(tmp_path, tiny_model):
    extra = {"tokens": ["Ada", "wrote"], "tags": ["B-Scientist", "O"]}
    data = manifest(tmp_path, [{"utt_id": "a", "text": "Ada wrote", "extra": extra}, {"utt_id": "b", "text": "none"}])
    found = checks.read(settings(data, tasks=("ner",)))
    assert found[0].tokens == ("Ada", "wrote") and found[0].tags == "B-Scientist O"
    assert TASKS["ner"].lacks(found[1]) == "no tags"
    text, _ = asked(tiny_model, "ner", found[0], "it")
    assert "following tokens:\n['Ada', 'wrote']\nAdditionally" in text and text.startswith(
        "<|im_start|>user\nStudy this taxonomy"
    )


def test_a_draft_is_asked_to_be_corrected(tmp_path, tiny_model):
    row = {"utt_id": "a", "text": "the dog", "translations": {"de": "der Hund"}, "extra": json.dumps({"mt": "die Hund"})}
    [found] = checks.read(settings(manifest(tmp_path, [row]), tasks=("ape",)))
    text, _ = asked(tiny_model, "ape", found, "it")
    assert (
        "copied.\nSource (English): the dog\nTranslation (German): die Hund\nPost-edited: <|im_end|>\n<|im_start|>assistant"
        in text
    )
    assert TASKS["ape"].lacks(found) == "" and TASKS["ape"].lacks(replace(found, draft="")) == "no draft"


def test_a_base_model_gets_examples_drawn_as_spirelm_draws_them(tmp_path, tiny_model):
    import random

    dev = [{"utt_id": f"d{n}", "text": f"text {n}", "translations": {"de": f"Text {n}"}, "split": "dev"} for n in range(9)]
    rows = [{"utt_id": f"t{n}", "text": f"dog {n}", "translations": {"de": f"Hund {n}"}} for n in range(3)]
    found = checks.read(settings(manifest(tmp_path, [*rows, *dev]), shots=ShotSettings(number=5)))
    draw = random.Random(42)
    expected = [[draw.choice(range(9)) for _ in range(5)] for _ in rows]
    assert [[text for text, _ in row.shots] for row in found] == [[f"text {n}" for n in drawn] for drawn in expected]
    examples = "".join(f"English: text {n}\nGerman: Text {n}\n" for n in expected[1])
    assert asked(tiny_model, "mt", found[1], "cpt") == (f"{examples}English: dog 1\nGerman:", "spire-2026 cpt 5 shots")
    assert "text" not in asked(tiny_model, "mt", found[1], "it")[0].replace("following text", "")
    back = asked(tiny_model, "mt_reverse", found[0], "it")[0]
    own = asked(tiny_model, "mt_back", found[0], "it")[0]
    assert "Translate the following text from German to English.\nGerman: Hund 0\nEnglish:" in own and "Text" not in own
    assert asked(tiny_model, "mt_back", found[0], "cpt")[0] == back
    assert back.startswith(f"German: Text {expected[0][0]}\nEnglish: text {expected[0][0]}\n")


def test_examples_that_are_not_there_are_refused(tmp_path):
    data = manifest(tmp_path, [{"utt_id": "a", "text": "the dog", "translations": {"de": "der Hund"}}])
    with pytest.raises(ValueError, match=r"split=dev: .* has no rows of it"):
        checks.read(settings(data, shots=ShotSettings(number=5)))


def test_a_protocol_fixes_what_moves_figures():
    found = protocols.resolved(settings("d", protocol="spire-2025"))
    assert (found.prompts, found.max_new_tokens, found.shots) == ("spire-2025", 256, ShotSettings(number=5))
    assert found.metrics == ("wer", "cer", "spbleu", "chrf", "f1")
    assert protocols.resolved(settings("d", protocol="spire-2025", metrics=("comet",))).metrics == ("comet",)
    with pytest.raises(ValueError, match=r"max_new_tokens=64: the protocol spire-2025 has 256; leave it out"):
        protocols.resolved(settings("d", protocol="spire-2025", max_new_tokens=64))
    with pytest.raises(ValueError, match=r"shots\.seed=1: the protocol spire-2026 has 42"):
        protocols.resolved(settings("d", protocol="spire-2026", shots=ShotSettings(number=5, seed=1)))
    with pytest.raises(ValueError, match="protocol=spire-2027: did you mean spire-202"):
        protocols.resolved(settings("d", protocol="spire-2027"))


def test_a_test_set_of_the_catalogue_is_one_line(tmp_path):
    def resolved(*models):
        return protocols.resolved(EvaluateSettings(output="", root=str(tmp_path), test_set="fleurs", models=models))

    spire = EvaluatedModel(name="m", model="m", tasks=("asr",))
    whisper = EvaluatedModel(name="w", system="whisper", model="w", tasks=("asr",))
    both, alone = resolved(spire, whisper), resolved(whisper)
    assert (both.data, both.audio) == (f"{tmp_path}/units/fleurs", f"{tmp_path}/data/fleurs")
    assert (alone.data, alone.source_language) == (f"{tmp_path}/data/fleurs", "en")
    with pytest.raises(ValueError, match=r"test_set=fleurs: .*/data/fleurs not found; `spire data fetch` makes it"):
        protocols.require(alone)
    both_ways = EvaluatedModel(name="m", model="m", tasks=("mt_back",))
    asked = EvaluateSettings(output="", test_set="flores-plus", models=(both_ways,), target_language="Korean")
    assert protocols.resolved(asked).data == "runs/data/flores-plus"
    with pytest.raises(ValueError, match=r"target_language=fr: CoVoST 2 English is translated into ar, ca, cy, de"):
        protocols.resolved(replace(asked, test_set="covost2", target_language="fr"))
    with pytest.raises(ValueError, match="corpus 'fleur' is unknown; did you mean fleurs"):
        protocols.resolved(EvaluateSettings(output="", test_set="fleur", models=(whisper,)))


def test_transcripts_of_another_model_are_translated(tmp_path):
    whisper = EvaluatedModel(name="w", system="whisper", model="w", tasks=("asr",))
    tower = EvaluatedModel(name="w+t", model="t", tasks=("st_cascade",), transcripts="w")

    def check(*models):
        checks.models(EvaluateSettings(output="", data="d", models=models))

    check(whisper, tower)
    with pytest.raises(ValueError, match=r"models\.w\+t\.transcripts=w: no model of this name is asked asr here"):
        check(tower)
    with pytest.raises(ValueError, match=r"models\.w\.tasks: mt is nothing for whisper, which does asr, st"):
        check(replace(whisper, tasks=("mt",)))
    with pytest.raises(ValueError, match=r"models\.w\.options\.beam=5: whisper has no such option; it has beams"):
        check(replace(whisper, options={"beam": "5"}))


def test_rows_are_told_apart_by_all_that_is_asked_of_them():
    row = test_set.Row(utt_id="a", language="en", text="a")
    recording = test_set.Recording("a/b.wav", 0.0, None)
    others = [replace(row, **change) for change in (
        {"text": "b"}, {"draft": "c"}, {"tags": "O"}, {"units": np.zeros(2, np.uint16)}, {"speaker": "s"},
        {"audio": recording}, {"audio": recording._replace(source="a/c.wav")}, {"audio": recording._replace(source=b"riff")},
    )]  # fmt: skip
    assert len({planned.digest(each) for each in (row, *others)}) == 9
    moved = replace(row, audio=recording._replace(source="s3://b.wav"))
    assert planned.digest(moved) == planned.digest(replace(row, audio=recording))
