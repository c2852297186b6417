"""SpiRit-LM writes, in batches, what `LlamaForCausalLM.generate` writes after the units that HuBERT and the nets say."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import soundfile
import torch
import transformers

from spire_ray.audio import decode
from spire_ray.evaluation import checks
from spire_ray.evaluation.systems import SYSTEMS
from spire_ray.evaluation.tasks import TASKS, Question
from spire_ray.evaluation.test_set import Recording, Row
from spire_ray.settings import EvaluatedModel, GenerateSettings
from tests.evaluation.systems import tiny_spiritlm

MOST = 12


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_spiritlm.made(tmp_path_factory.mktemp("spiritlm"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder, draw, made = tmp_path_factory.mktemp("clips"), np.random.default_rng(0), []
    for n, seconds in enumerate((1.0, 0.4, 2.3, 0.7)):
        time = np.arange(int(16_000 * seconds)) / 16_000
        sound = sum(np.sin(2 * np.pi * f * time) for f in draw.uniform(100, 4000, 6)) / 8 + draw.standard_normal(len(time)) / 20
        soundfile.write(folder / f"{n}.wav", sound, 16_000)
        made.append(Row(utt_id=str(n), language="en", text=f"w{n} w1", audio=Recording(str(folder / f"{n}.wav"), 0.0, None)))
    return made


def system(tiny, **options):
    model = EvaluatedModel(
        name="s", system="spiritlm", model=tiny.model, tasks=("asr",), options={"speech_tokenizer": tiny.speech, **options}
    )
    return SYSTEMS["spiritlm"].load(
        model, GenerateSettings(output="", data="d", models=(model,), max_new_tokens=MOST, batch_size=3)
    )


def answers(made, rows):
    return made.answer([TASKS["asr"].request(Question(row, "de")) for row in rows])


def units(tiny, row):
    """By hand: what the eleventh layer of HuBERT says, in the nets' own words, without blanks and neighbours that are equal."""
    with torch.inference_mode():
        hidden = tiny.hubert(torch.from_numpy(decode.load(*row.audio))[None], output_hidden_states=True).hidden_states[11]
        said = tiny.nets(hidden[0]).argmax(-1).tolist()
    last = next(unit for unit in reversed(said) if unit != tiny_spiritlm.UNITS)
    filled = []
    for unit in said:
        last = unit if unit != tiny_spiritlm.UNITS else last
        filled.append(last)
    return "[Speech]" + "".join(f"[Hu{unit}]" for unit, _ in itertools.groupby(filled)), tiny_spiritlm.UNITS in said


def alone(tiny, prompt):
    """The reference: one prompt, its own class and nothing but text allowed."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=f"{tiny.model}/tokenizer.model")
    model = transformers.LlamaForCausalLM.from_pretrained(tiny.model).eval()
    speech = [
        pieces.piece_to_id(token) for token in ("[Text]", "[Speech]", *(f"[Hu{n}]" for n in range(tiny_spiritlm.UNITS + 1)))
    ]
    ids = torch.tensor([[1, *pieces.encode(prompt)]])
    made = model.generate(ids, max_new_tokens=MOST, do_sample=False, bad_words_ids=[[each] for each in speech], pad_token_id=2)
    text = pieces.decode([each for each in made[0, ids.shape[1] :].tolist() if each < pieces.get_piece_size()])
    return text.partition("\n")[0].strip()


def test_it_writes_what_its_own_generate_writes(tiny, rows):
    said = [units(tiny, row) for row in rows]
    assert any(blank for _, blank in said) and len({text for text, _ in said}) == len(rows)
    expected = [alone(tiny, f"{text}[Text]") for text, _ in said]
    found = answers(system(tiny), rows)
    assert [each.text for each in found] == expected and len(set(expected)) > 1
    assert not any(each.error for each in found) and all(0 < each.tokens <= MOST for each in found)


def test_examples_come_before_what_is_asked(tiny, rows, tmp_path):
    lines = [{"utt_id": str(n), "audio_filepath": rows[n].audio.source, "text": rows[n].text, "language": "en"} for n in (1, 3)]
    (tmp_path / "shots.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = system(tiny, examples=str(tmp_path / "shots.jsonl"))
    shots = "".join(f"{units(tiny, rows[n])[0]}[Text]{rows[n].text}\n" for n in (1, 3))
    [found] = answers(made, rows[:1])
    assert found.text == alone(tiny, f"{shots}{units(tiny, rows[0])[0]}[Text]")
    assert made.asked(TASKS["asr"].request(Question(rows[0], "de"))) == "spiritlm 2 shots"


def test_what_cannot_be_heard_is_the_error_of_its_row(tiny, rows, tmp_path):
    for name, samples in (("short", 900), ("long", 16_000 * 30)):
        soundfile.write(tmp_path / f"{name}.wav", np.random.default_rng(1).standard_normal(samples) / 8, 16_000)
    clips = [Recording(str(tmp_path / f"{name}.wav"), 0.0, None) for name in ("short", "long", "none")]
    found = answers(system(tiny), [rows[0], *(Row(utt_id="x", language="en", audio=clip) for clip in clips)])
    assert not found[0].error and found[1].error == "speech too short: 900 samples of 1280"
    assert found[2].error.startswith("prompt too long: ") and found[3].error


def test_what_is_missing_is_said_before_anything_is_loaded(tiny, tmp_path):
    def check(**more):
        model = EvaluatedModel(name="s", system="spiritlm", model=tiny.model, tasks=more.pop("tasks", ("asr",)), **more)
        checks.models(settings := GenerateSettings(output="", data="d", models=(model,)))
        SYSTEMS["spiritlm"].check(settings.models[0], [])

    with pytest.raises(ValueError, match=r"models\.s\.options\.speech_tokenizer: name the folder"):
        check()
    with pytest.raises(ValueError, match=r"holds no hubert_25hz/mhubert_base_25hz\.pt and no hubert_25hz/L11_quantizer_500\.pt"):
        check(options={"speech_tokenizer": str(tmp_path)})
    with pytest.raises(ValueError, match="st_direct is nothing for spiritlm, which does asr"):
        check(tasks=("st_direct",))
    check(options={"speech_tokenizer": tiny.speech})


def test_another_model_is_refused(tiny, tmp_path, tiny_base):
    expressive = tiny_spiritlm.made(tmp_path, expressive=True)
    with pytest.raises(ValueError, match=r"models\.s\.model=.*: is SpiRit-LM Expressive, .*; name the base model"):
        system(expressive)
    tiny = type(tiny)(model=tiny_base, speech=tiny.speech)
    with pytest.raises(ValueError, match=r"models\.s\.model=.*: holds no tokenizer\.model"):
        system(tiny)
    (Path(expressive.speech) / "hubert_25hz" / "L11_quantizer_500.pt").write_bytes(b"no checkpoint")
    tiny = type(tiny)(model=expressive.model, speech=expressive.speech)
    from spire_ray.evaluation.systems._spiritlm_units import SpeechUnits

    with pytest.raises(ValueError, match=r"L11_quantizer_500\.pt: no checkpoint that can be read"):
        SpeechUnits(expressive.speech, "cpu")


def test_its_license_is_accepted_by_name(ray_session, tiny, rows, tmp_path, capsys):
    import yaml

    from spire_ray import cli

    line = {"utt_id": "a", "audio_filepath": rows[0].audio.source, "text": "w1", "language": "en", "split": "test"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(line) + "\n")
    model = {
        "name": "s",
        "system": "spiritlm",
        "model": tiny.model,
        "tasks": ["asr"],
        "options": {"speech_tokenizer": tiny.speech},
    }
    config = {
        "stage": "evaluate", "output": str(tmp_path / "out"), "data": str(tmp_path / "rows.jsonl"), "models": [model],
        "max_new_tokens": MOST, "bootstrap": 20, "workers": 1, "tracking": {"enabled": False},
    }  # fmt: skip
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["evaluate", "--config", str(tmp_path / "e.yaml")]) == 2
    assert "its license fair-noncommercial-research-license is non-commercial" in capsys.readouterr().err
    accepted = "license.accept=[fair-noncommercial-research-license]"
    assert cli.main(["evaluate", "--config", str(tmp_path / "e.yaml"), accepted]) == 0
    assert "s.asr.wer" in json.loads((tmp_path / "out" / "results.json").read_text())
