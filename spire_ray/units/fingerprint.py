"""What a discrete unit means: the identity that must never mix, and the numerics that may.

Unit 17 of one codebook has nothing to do with unit 17 of another. The fingerprint travels with codebook, units, packs and
model; everything that joins two of them compares it.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

FINGERPRINT_FILE = "fingerprint.json"
"""Of a folder of units."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """All that decides which unit a sound becomes."""

    encoder: str
    weights: str
    """Hash of the encoder's weights, or of the settings of an encoder without weights."""
    layer: int
    norm: str
    """Rule at the cut: `none`, `final_layer_norm` or, for cepstra, `cmvn`."""
    waveform: str
    """`utterance` for zero mean and unit variance over the utterance, else `none`."""
    frame_rate: float
    """Frames per second."""
    codebook: str = ""
    """Hash of the centroids; empty before they exist."""
    clusters: int = 0
    channels: str = "mean"
    pooling: str = "none"
    cutting: str = "none"
    deduplicated: bool = True
    recordings: str = ""
    """Whether long recordings went in `whole` or were cut, as `cut 30s`; empty where nothing is said, as of a codebook."""
    level: str = ""
    """What is done to how loud a waveform is; empty where nothing is said, as of a codebook."""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """Identity and numerics of a set of units."""

    identity: Identity
    numerics: dict[str, str] = field(default_factory=dict)
    """dtype, device, decoder, resampler and versions; "unknown" is a legal value."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON and file metadata."""
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Fingerprint":
        """Inverse of `to_dict`."""
        return Fingerprint(identity=Identity(**data["identity"]), numerics=dict(data.get("numerics", {})))

    def require(self, other: "Fingerprint", mine: str, theirs: str) -> None:
        """Raise ValueError naming every difference if the two identities are not the same.

        Where one of them says nothing of recordings or level, as a codebook and a model do, any will do.
        """
        ours, others = asdict(self.identity), asdict(other.identity)
        for key in ("recordings", "level"):
            if not (ours[key] and others[key]):
                ours[key] = others[key] = ""
        differences = [f"{key} {ours[key]!r} against {others[key]!r}" for key in ours if ours[key] != others[key]]
        if differences:
            raise ValueError(f"the units of {mine} and of {theirs} do not mean the same: {'; '.join(differences)}")


def content_hash(parts: Iterable[bytes]) -> str:
    """Short SHA-256 over the parts in order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
