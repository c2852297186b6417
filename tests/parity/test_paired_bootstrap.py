"""Two systems are compared as sacrebleu compares them: the same samples, the same p-values, digit for digit."""

import numpy as np
import pytest
import sacrebleu
from sacrebleu.significance import PairedTest

from spire_ray.evaluation import comparing, scoring
from spire_ray.settings import ScoreSettings

WORDS = [
    "der",
    "alte",
    "Mann",
    "sah",
    "ein",
    "rotes",
    "Haus",
    "an",
    "unserem",
    "Fluss",
    "und",
    "dann",
    "kam",
    "meine",
    "Schwester",
]
RATES = {"baseline": 0.2, "alike": 0.2, "better": 0.17, "worse": 0.4}


@pytest.fixture(scope="module")
def texts():
    draw = np.random.default_rng(3)
    references = [" ".join(draw.choice(WORDS, draw.integers(4, 15))) for _ in range(200)]

    def spoiled(text, rate):
        return " ".join(word for word in text.split() if draw.random() >= rate)

    return references, {name: [spoiled(text, rate) for text in references] for name, rate in RATES.items()}


@pytest.mark.parametrize(("metric", "title"), [("bleu", "BLEU"), ("chrf", "chrF2")])
def test_p_values_are_those_of_sacrebleu(texts, metric, title):
    references, systems = texts
    test = PairedTest(
        list(systems.items()), {title: {"bleu": sacrebleu.BLEU, "chrf": sacrebleu.CHRF}[metric](references=[references])},
        None, test_type="bs", n_samples=300,
    )  # fmt: skip
    _, said = test()
    settings = ScoreSettings(output="", hypotheses="", metrics=(metric,), bootstrap=300)
    figures = []
    for name, hypotheses in systems.items():
        rows = [
            {"utt_id": str(n), "source": "en", "target": "de", "text": "", "error": None, "hypothesis": text, "reference": right}
            for n, (text, right) in enumerate(zip(hypotheses, references, strict=True))
        ]
        figures += scoring.figures(settings, name, "mt", rows)[0]
    found = {each.other: each for each in comparing.comparisons(settings, figures) if each.one == "baseline"}
    expected = dict(zip(said["System"][1:], said[title][1:], strict=True))
    assert {name: each.paired_bs for name, each in found.items()} == {name: each.p_value for name, each in expected.items()}
    assert all(each.paired_bs <= each.p for each in found.values()) and found["worse"].p < 0.05 < found["alike"].p
    assert [each.samples.mean() for each in figures[1:]] == pytest.approx([each.mean for each in expected.values()], abs=1e-4)
    assert [each.value for each in figures[1:]] == pytest.approx([result.score for result in expected.values()], abs=1e-9)
