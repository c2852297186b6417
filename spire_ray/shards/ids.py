"""Ids of what comes of a row: `ID#MILLISECONDS` of a piece of a long recording, `ID~babble1` of a copy."""

import re
from collections.abc import Container

from spire_ray.audio.distortions import DISTORTIONS

_PIECE = "#"
_COPY = re.compile(rf"~(?:{'|'.join(DISTORTIONS)})\d+$")


def piece(utt_id: str, start: float) -> str:
    """Of what begins at so many seconds of a recording."""
    return f"{utt_id}{_PIECE}{round(start * 1000):09d}"


def copy(utt_id: str, distortion: str, number: int) -> str:
    """Of the first, the second … copy with a distortion."""
    return f"{utt_id}~{distortion}{number}"


def parent(utt_id: str) -> str:
    """The id of the row that a piece of a long recording is of."""
    return utt_id.rpartition(_PIECE)[0]


def is_copy(utt_id: str) -> bool:
    """Whether an id is one that copies have."""
    return bool(_COPY.search(utt_id))


def original(utt_id: str) -> str:
    """The id of the row or piece that a copy is of; any other id as it is."""
    return _COPY.sub("", utt_id)


def planned(utt_id: str, known: Container[str]) -> str:
    """Of the known ids that which an id in a part comes from: itself, or what it is a copy or a piece of; empty for none."""
    whole = original(utt_id)
    return next((name for name in (utt_id, whole, parent(whole)) if name in known), "")
