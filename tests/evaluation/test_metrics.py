"""Figures are those of jiwer and sacrebleu, digit for digit."""

import json
import os
import subprocess
import sys

import jiwer
import numpy as np
import pytest
import sacrebleu
from sentencepiece import SentencePieceTrainer

from spire_ray.evaluation.metrics import METRICS, Scored
from spire_ray.settings import CometSettings, ScoreSettings
from spire_ray.text.languages import language

REFERENCES = ["the dog sleeps in the garden", "a red apple", "my brother sees the big house"]
HYPOTHESES = ["the dog sleep in garden", "a red red apple", "my brother sees the big house"]
GERMAN = ["der Hund schläft im Garten", "ein roter Apfel", "mein Bruder sieht das große Haus"]
GUESSED = ["der Hund schlief im Garten", "roter Apfel", "mein Bruder sieht das große Haus"]


def made(name, code, **settings):
    return METRICS[name].make(ScoreSettings(output="", hypotheses="", **settings), language(code))


def measured(name, hypotheses, references, code="en", **settings):
    """The figure, and the sums that are shown."""
    metric = made(name, code, **settings)
    rows = [Scored(str(n), h, r) for n, (h, r) in enumerate(zip(hypotheses, references, strict=True))]
    sums = np.sum([each for each in metric.statistics(rows) if each is not None], axis=0, dtype=np.float64)
    return metric.value(sums), dict(zip(metric.counts, sums, strict=False))


def test_the_word_error_rate_is_that_of_the_whole_corpus():
    found, counts = measured("wer", HYPOTHESES, REFERENCES)
    assert found == 100 * jiwer.wer(REFERENCES, HYPOTHESES) == pytest.approx(100 * 3 / 15)
    assert counts == {"substitutions": 1, "deletions": 1, "insertions": 1}
    assert measured("wer", REFERENCES, REFERENCES)[0] == 0


def test_the_character_error_rate_is_jiwers():
    found, counts = measured("cer", HYPOTHESES, REFERENCES)
    whole = jiwer.process_characters(REFERENCES, HYPOTHESES)
    assert found == 100 * whole.cer
    assert list(counts.values()) == [whole.substitutions, whole.deletions, whole.insertions]


def test_texts_are_compared_after_whispers_normalizer_of_their_language():
    assert measured("wer", ["Mr. Smith paid twenty dollars, didn't he?"], ["mister smith paid $20 did not he"])[0] == 0
    assert measured("wer", ["The neighbour's colour."], ["the neighbor's color"])[0] == 0
    assert measured("wer", ["La couleur, c’est « gris »."], ["la couleur c est gris"], "fr")[0] == 0
    # what the English one would take for words to be spelled out and left out
    assert measured("wer", ["er mm sagt"], ["er um sagt"], "de")[0] == pytest.approx(100 / 3)


def test_punctuation_counts_nothing_where_words_are_not_written_apart():
    assert measured("cer", ["你好世界"], ["你好，世界。"], "zh")[0] == 0
    assert measured("cer", ["你好世间"], ["你好，世界。"], "zh")[0] == 25


def test_words_are_not_counted_where_they_are_not_written_apart():
    from spire_ray.evaluation import scoring

    def wanted(*metrics, code="zh"):
        return scoring.metrics_of("asr", language(code), ScoreSettings(output="", hypotheses="", metrics=metrics))

    assert wanted("wer", "cer") == ["cer"] and wanted("wer", "cer", code="en") == ["wer", "cer"]
    with pytest.raises(ValueError, match=r"metrics=\['wer'\]: wer says nothing of Chinese; add cer"):
        wanted("wer")


def test_references_without_words_are_left_out():
    assert measured("wer", ["um", "anything", "a red apple"], ["", "(laughs)", "a red apple"])[0] == 0
    assert measured("wer", ["", "noise", "a red pear"], ["", "[noise]", "a red apple"])[0] == pytest.approx(100 / 3)
    assert made("wer", "en").statistics([Scored("a", "x", "?!")]) == [None]


def test_an_empty_answer_is_all_deletions():
    assert measured("wer", ["", "a red apple"], ["the dog", "a red apple"])[0] == pytest.approx(100 * 2 / 5)


@pytest.mark.parametrize("tokenizer", ["13a", "intl", "zh", "char"])
def test_bleu_is_that_of_sacrebleu(tokenizer):
    found, _ = measured("bleu", GUESSED, GERMAN, "de", bleu_tokenizer=tokenizer)
    assert found == sacrebleu.corpus_bleu(GUESSED, [GERMAN], tokenize=tokenizer).score
    assert 0 < found < 100
    assert f"tok:{tokenizer}" in made("bleu", "de", bleu_tokenizer=tokenizer).signature
    assert measured("bleu", GERMAN, GERMAN, "de")[0] == pytest.approx(100)


def test_the_tokenizer_is_that_of_the_language():
    assert "tok:zh|" in made("bleu", "zh").signature and "tok:13a|" in made("bleu", "fr").signature


def test_bleu_and_chrf_are_those_of_the_command_digit_for_digit(tmp_path):
    draw = np.random.default_rng(0)
    words = " ".join(GERMAN).split()
    references = [" ".join(draw.choice(words, draw.integers(3, 12))) for _ in range(40)]
    hypotheses = [" ".join(word for word in text.split() if draw.random() < 0.8) for text in references]
    hypotheses[3] = ""
    for name, texts in (("r", references), ("h", hypotheses)):
        (tmp_path / name).write_text("".join(f"{text}\n" for text in texts))
    command = [sys.executable, "-m", "sacrebleu", tmp_path / "r", "-i", tmp_path / "h", "-m", "bleu", "chrf", "-b", "-w", "10"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    figures = [measured(name, hypotheses, references, "de")[0] for name in ("bleu", "chrf")]
    assert [each.rstrip(",") for each in said if each[0].isdigit()] == [f"{each:.10f}" for each in figures]


def test_spbleu_by_path_is_that_of_the_command_digit_for_digit(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    SentencePieceTrainer.train(
        sentence_iterator=iter([*GERMAN, *GUESSED] * 9), model_prefix=str(models / "m"), vocab_size=34, minloglevel=2
    )
    (models / "m.model").rename(models / "flores200sacrebleuspm")
    for name, texts in (("r", GERMAN), ("h", GUESSED)):
        (tmp_path / name).write_text("".join(f"{text}\n" for text in texts))
    command = [sys.executable, "-m", "sacrebleu", tmp_path / "r", "-i", tmp_path / "h", "-tok", "flores200", "-w", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"SACREBLEU": str(tmp_path)})
    said = json.loads(done.stdout)
    given = {"spbleu_model": str(models / "flores200sacrebleuspm")}
    assert f"{measured('spbleu', GUESSED, GERMAN, 'de', **given)[0]:.10f}" == f"{said['score']:.10f}" and 0 < said["score"] < 100
    assert made("spbleu", "de", **given).signature == said["signature"]
    (tmp_path / "none").write_text("no model")
    with pytest.raises(ValueError, match=r"spbleu_model=.*none: no model of sentencepiece"):
        made("spbleu", "de", spbleu_model=str(tmp_path / "none"))


def test_comet_scores_with_transcript_and_reference(tmp_path):
    python = tmp_path / "python"  # stands in for the other environment: the length of each text
    python.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        "if 'metadata' in sys.argv[2]: sys.exit(print('2.2.7'))\n"
        "rows = json.load(sys.stdin)['rows']\n"
        "print(json.dumps([len(row['src']) + len(row['mt']) / 10 + len(row.get('ref', '')) / 100 for row in rows]))\n"
    )
    python.chmod(0o755)
    metric = made("comet", "de", comet=CometSettings(python=str(python)))
    numbers = metric.statistics([Scored("a", "bb", "ccc", "d"), Scored("b", "", "c", "dd")])
    assert numbers == [[1.23, 1.0], [2.01, 1.0]]
    assert metric.value(np.sum(numbers, axis=0)) == pytest.approx(100 * (1.23 + 2.01) / 2)
    assert metric.signature == "model:Unbabel/wmt22-comet-da|unbabel-comet:2.2.7"
    kiwi = made("cometkiwi", "de", comet=CometSettings(python=str(python)))
    assert kiwi.statistics([Scored("a", "bb", "ccc", "d")]) == [[1.2, 1.0]]  # without the reference
    assert kiwi.signature.startswith("model:Unbabel/wmt22-cometkiwi-da|")
    assert metric.statistics([Scored("a", "bb", "c", ""), Scored("b", "", "c", "dd")]) == [None, [2.01, 1.0]]  # no source
    with pytest.raises(ValueError, match=r"comet\.python=/none: no such interpreter"):
        made("comet", "de", comet=CometSettings(python="/none"))
    with pytest.raises(ValueError, match=r"comet\.python=.*: has no unbabel-comet; `make comet` makes"):
        made("xcomet", "de", comet=CometSettings(python=sys.executable))
