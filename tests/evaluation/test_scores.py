"""Scores of transcripts and translations are those of jiwer and sacrebleu."""

import jiwer
import pytest
import sacrebleu

from spire_ray.evaluation.asr import wer
from spire_ray.evaluation.translation import score

REFERENCES = ["the dog sleeps in the garden", "a red apple", "my brother sees the big house"]
HYPOTHESES = ["the dog sleep in garden", "a red red apple", "my brother sees the big house"]
GERMAN = ["der Hund schläft im Garten", "ein roter Apfel", "mein Bruder sieht das große Haus"]
GUESSED = ["der Hund schlief im Garten", "roter Apfel", "mein Bruder sieht das große Haus"]


def test_the_word_error_rate_is_that_of_the_whole_corpus():
    assert wer(HYPOTHESES, REFERENCES) == pytest.approx(100 * jiwer.wer(REFERENCES, HYPOTHESES))
    assert wer(HYPOTHESES, REFERENCES) == pytest.approx(100 * 3 / 15)
    assert wer(REFERENCES, REFERENCES) == 0


def test_texts_are_compared_after_whispers_english_normalizer():
    assert wer(["Mr. Smith paid twenty dollars, didn't he?"], ["mister smith paid $20 did not he"]) == 0
    assert wer(["The neighbour's colour."], ["the neighbor's color"]) == 0


def test_references_without_words_are_left_out():
    assert wer(["um", "anything", "a red apple"], ["", "(laughs)", "a red apple"]) == 0
    assert wer(["", "noise", "a red pear"], ["", "[noise]", "a red apple"]) == pytest.approx(100 / 3)


def test_an_empty_hypothesis_is_all_deletions():
    assert wer(["", "a red apple"], ["the dog", "a red apple"]) == pytest.approx(100 * 2 / 5)


@pytest.mark.parametrize("references", [[], [""], ["?!", "(music)"]])
def test_without_a_reference_to_score_against_there_is_no_score(references):
    with pytest.raises(ValueError, match="no reference with words to score against"):
        wer(["x"] * len(references), references)


def test_hypotheses_and_references_must_be_as_many():
    with pytest.raises(ValueError, match="shorter"):
        wer(["a"], ["a", "b"])


@pytest.mark.parametrize("tokenizer", ["13a", "intl", "zh"])
def test_translation_scores_are_those_of_sacrebleu(tokenizer):
    found = score(GUESSED, GERMAN, tokenizer)
    assert found.bleu == pytest.approx(sacrebleu.corpus_bleu(GUESSED, [GERMAN], tokenize=tokenizer).score)
    assert found.chrf == pytest.approx(sacrebleu.corpus_chrf(GUESSED, [GERMAN]).score)
    assert 0 < found.bleu < 100
    assert f"tok:{tokenizer}" in found.signature
    assert f"version:{sacrebleu.__version__}" in found.signature


def test_perfect_translations_score_100():
    found = score(GERMAN, GERMAN, "13a")
    assert (found.bleu, found.chrf) == (pytest.approx(100), pytest.approx(100))


def test_empty_hypotheses_and_references_score_as_sacrebleu_scores_them():
    hypotheses, references = ["", "roter Apfel", "ein Haus"], ["der Hund", "", "ein Haus"]
    found = score(hypotheses, references, "13a")
    assert found.bleu == pytest.approx(sacrebleu.corpus_bleu(hypotheses, [references]).score)
    assert found.chrf == pytest.approx(sacrebleu.corpus_chrf(hypotheses, [references]).score)
    assert score(["", ""], GERMAN[:2], "13a").bleu == 0
