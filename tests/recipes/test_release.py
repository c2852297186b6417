"""SpireFull is verified where its files are at hand; elsewhere it is said what to fetch."""

import numpy as np
import pytest

from spire_ray import cli
from spire_ray.core import storage
from spire_ray.evaluation.systems.llm import LanguageModel
from spire_ray.evaluation.tasks import TASKS, Question
from spire_ray.evaluation.test_set import Row
from spire_ray.inference.generate import HuggingFaceGenerator
from spire_ray.recipes import release


def test_what_is_missing_is_named_with_the_way_to_get_it(tmp_path, capsys):
    assert cli.main(["verify-release", f"root={tmp_path}"]) == 2
    told = capsys.readouterr().out
    assert told.count("is not there") == 4 and f"spire units adopt {tmp_path}/models/SpireFull {tmp_path}/codebook" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("bleu", "verdict"), [(18.75, "Every figure is within 0.5"), (17.2, "Differs by more than 0.5: CoVoST 2 en-zh")]
)
def test_figures_are_held_against_the_published_ones(tmp_path, bleu, verdict):
    for folder, metric, value in (("covost2-de", "bleu", 18.4), ("covost2-zh", "bleu", bleu), ("fleurs-de", "chrf", 57.0)):
        figures = [{"task": "st_direct", "metric": metric, "value": value}, {"task": "asr", "metric": "wer", "value": 9.0}]
        storage.write_json(f"{tmp_path}/{folder}/results.json", {"figures": figures})
    text = release.write(str(tmp_path)).text
    assert verdict in text and "| CoVoST 2 en-de, BLEU | 18.40 | 18.30 | +0.10 |" in text


def test_a_language_model_searches_with_beams_as_transformers_does(tiny_model):
    generator = HuggingFaceGenerator(tiny_model, max_new_tokens=12)
    row = Row(utt_id="a", language="en", units=np.array([1, 2, 3], np.uint16))
    asked = TASKS["st_direct"].request(Question(row, "de"))
    found = {n: LanguageModel(generator, beams=n).answer([asked])[0] for n in (1, 5)}
    system = LanguageModel(generator)
    [ids] = generator.tokenizer.asked([system.prompt(asked)])
    import torch

    model, stops = generator.engine.weights.model, sorted(generator.stops)
    made = model.generate(
        torch.tensor([ids.tolist()]), num_beams=5, do_sample=False, max_new_tokens=12, eos_token_id=stops, pad_token_id=stops[0]
    )[0, len(ids) :].tolist()
    kept = made[: next((n for n, token in enumerate(made) if token in stops), len(made))]
    assert found[5].text == generator.tokenizer.decode(kept).partition("\n")[0].strip()
    assert found[5].tokens == len(kept)
