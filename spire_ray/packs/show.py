"""A packed row for the eye: its documents with their boundaries, and what the loss counts in colour."""

from spire_ray.packs.pack import Pack
from spire_ray.text.tokenizer import SpeechTokenizer

_COUNTED, _SEEN, _UNITS, _PLAIN = "\033[32m", "\033[90m", "\033[36m", "\033[0m"
_UNITS_SHOWN = 6


def row(pack: Pack, tokenizer: SpeechTokenizer, number: int, colour: bool = True) -> str:
    """One row decoded: a heading for each document, counted tokens green, others grey, units as numbers.

    Without colour, counted text stands in ⟦ ⟧. Raises ValueError for a row that the pack has not.
    """
    described = pack.described(number)
    names = [source["name"] for source in pack.index["sources"]]
    lines, start = (
        [f"row {number} of {len(pack)}, {sum(described['document_lengths'])} of {pack.index['sequence_length']} tokens"],
        0,
    )
    documents = zip(described["document_lengths"], described["utt_ids"], described["source"], strict=True)
    for length, utt_id, source in documents:
        ids = described["input_ids"][start : start + length]
        counted = described["loss_mask"][start : start + length]
        lines += [
            "",
            f"── {utt_id}  {names[source]}  {length} tokens, {sum(counted)} counted",
            _text(tokenizer, ids, counted, colour),
        ]
        start += length
    return "\n".join(lines)


def _text(tokenizer: SpeechTokenizer, ids: list[int], counted: list[int], colour: bool) -> str:
    """Runs of tokens that are alike: units or text, counted or not."""
    units = range(tokenizer.units.first, tokenizer.units.first + tokenizer.units.count) if tokenizer.units else range(0)
    kinds = [(token in units, bool(count)) for token, count in zip(ids, counted, strict=True)]
    pieces, start = [], 0
    for end in range(1, len(ids) + 1):
        if end == len(ids) or kinds[end] != kinds[start]:
            pieces.append(_piece(tokenizer, ids[start:end], *kinds[start], units.start, colour))
            start = end
    return "".join(pieces)


def _piece(tokenizer: SpeechTokenizer, ids: list[int], spoken: bool, counted: bool, first: int, colour: bool) -> str:
    if spoken:
        shown = " ".join(str(token - first) for token in ids[:_UNITS_SHOWN])
        text = f"⟨{len(ids)} units: {shown}{' …' if len(ids) > _UNITS_SHOWN else ''}⟩"
    else:
        text = tokenizer.text.decode(ids, skip_special_tokens=False)
    if not colour:
        return f"⟦{text}⟧" if counted else text
    return f"{_COUNTED if counted else _UNITS if spoken else _SEEN}{text}{_PLAIN}"
