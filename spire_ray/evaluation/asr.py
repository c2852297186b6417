"""Word error rate as SPIRE computes it: Whisper's English normalizer, jiwer, corpus level."""

from collections.abc import Sequence

import jiwer


def wer(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Corpus word error rate in percent after normalization.

    References that are empty after normalization are left out. Raises ValueError if none remains.
    """
    from whisper_normalizer.english import EnglishTextNormalizer

    normalize = EnglishTextNormalizer()
    pairs = [(normalize(r), normalize(h)) for r, h in zip(references, hypotheses, strict=True)]
    pairs = [(reference, hypothesis) for reference, hypothesis in pairs if reference]
    if not pairs:
        raise ValueError("no reference with words to score against")
    return 100 * float(jiwer.wer([reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs]))
