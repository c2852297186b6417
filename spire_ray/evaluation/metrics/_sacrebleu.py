"""Metrics of sacrebleu: its own counts of n-grams by row, and its own figure of their sums."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import sacrebleu

from spire_ray.core import storage
from spire_ray.evaluation.metrics import Scored

_NEEDED = {
    "ja-mecab": "pip install 'sacrebleu[ja]'",
    "ko-mecab": "pip install 'sacrebleu[ko]'",
    "flores200": "it downloads a model of sentencepiece at first use: connect once, or name the file in spbleu_model",
}


class SacreBleu:
    """BLEU or chrF of sacrebleu, in percent."""

    counts: tuple[str, ...] = ()

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        metric.num_refs = 1  # which sacrebleu finds out as it scores, and its signature says
        self.signature = str(metric.get_signature())

    def statistics(self, rows: Sequence[Scored]) -> list[list[float]]:
        """Matches and totals of n-grams, as sacrebleu orders them."""
        hypotheses, references = [row.hypothesis for row in rows], [row.reference for row in rows]
        found: list[list[float]] = self._metric._extract_corpus_statistics(hypotheses, [references]) if rows else []
        return found

    def value(self, sums: np.ndarray) -> float:
        """Percent."""
        return float(self._metric._compute_score_from_stats([int(count) for count in sums]).score)


def bleu(tokenizer: str, field: str) -> SacreBleu:
    """BLEU with a tokenizer of sacrebleu. Raises ValueError, naming the field, for one that cannot be had."""
    try:
        metric = sacrebleu.BLEU(tokenize=tokenizer)
        metric.tokenizer("a")  # some load what they need at first use
    except Exception as error:
        said = str(error).strip().splitlines()
        raise ValueError(
            f"{field}: sacrebleu cannot load its tokenizer {tokenizer} ({said[0] if said else type(error).__name__}); "
            f"{_NEEDED.get(tokenizer, 'choose another')}"
        ) from None
    return SacreBleu(metric)


def flores200(path: str, field: str) -> SacreBleu:
    """BLEU with sacrebleu's tokenizer flores200, whose model is in a file. Raises ValueError, naming the field, for another."""
    from sacrebleu.tokenizers.tokenizer_spm import Flores200Tokenizer
    from sentencepiece import SentencePieceProcessor

    tokenizer: Any = Flores200Tokenizer.__new__(Flores200Tokenizer)  # which would fetch it
    try:
        tokenizer.name, tokenizer.sp = "flores200", SentencePieceProcessor(model_proto=storage.read_bytes(path))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{field}: no model of sentencepiece: {str(error).splitlines()[0]}") from None
    metric = sacrebleu.BLEU(tokenize="none")
    metric.tokenizer, metric.tokenizer_signature = tokenizer, tokenizer.signature()
    return SacreBleu(metric)
