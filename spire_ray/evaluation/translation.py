"""BLEU and chrF by sacrebleu, with its signature."""

from collections.abc import Sequence
from dataclasses import dataclass

import sacrebleu


@dataclass(frozen=True)
class Score:
    """Corpus scores in percent."""

    bleu: float
    chrf: float
    signature: str


def score(hypotheses: Sequence[str], references: Sequence[str], tokenizer: str) -> Score:
    """Corpus BLEU and chrF; spBLEU with the tokenizer `flores200`, which sacrebleu downloads at first use."""
    bleu = sacrebleu.BLEU(tokenize=tokenizer)
    value = bleu.corpus_score(list(hypotheses), [list(references)])
    chrf = sacrebleu.corpus_chrf(list(hypotheses), [list(references)])
    return Score(float(value.score), float(chrf.score), str(bleu.get_signature()))
