"""A recording → what is put to a model at once: the recording itself, or pieces that begin and end at quiet places."""

from collections.abc import Iterator

import numpy as np

from spire_ray.audio import cut, decode

_LEAST_SECONDS = 2.0
"""Of a model's room for speech; recordings are cut at the quietest place of half a piece."""


def pieces(source: str | bytes, longest: float) -> Iterator[tuple[float, np.ndarray]]:
    """(start in seconds, samples) of each piece, at most `longest` seconds.

    A recording that fits is what `spire label` makes of it. Raises AudioError as decoding does, and AudioTooLong where
    `longest` is too little to cut by.
    """
    try:
        yield 0.0, decode.load_pcm(source, max_seconds=longest)
    except decode.AudioTooLong:
        if longest < _LEAST_SECONDS:
            raise decode.AudioTooLong(
                f"longer than the {longest:.1f} s that the model hears at once, which is too little to cut it"
            ) from None
        yield from cut.pieces(source, longest)
