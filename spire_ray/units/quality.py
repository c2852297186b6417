"""How good a codebook is: use of the units, tokens per second, and what they say of phones. Legend: K clusters, P phones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

_TINY = 0.01
"""A cluster is tiny below this part of the mean size."""
_LEAST_ENTROPY = 0.6
"""Of log2 K. Sound codebooks lie above 0.9."""
_LEAST_COVERAGE = 0.5


@dataclass(frozen=True)
class Tally:
    """What was counted in utterances that the fit has not seen."""

    frames: int = 0
    units: int = 0
    """After deduplication."""
    squares: tuple[float, ...] = ()
    """Sums of squared distances to the nearest centroid."""
    joint: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Phone → int64 [K]: frames of each unit."""

    def __add__(self, other: "Tally") -> "Tally":
        joint = dict(self.joint)
        for phone, counts in other.joint.items():
            joint[phone] = joint[phone] + counts if phone in joint else counts
        return Tally(self.frames + other.frames, self.units + other.units, self.squares + other.squares, joint)


def figures(counts: np.ndarray, held_out: Tally, frame_rate: float) -> dict[str, float]:
    """Figures of a codebook from the frames of each unit (int64 [K], of the fit) and the tally of held-out utterances.

    Entropy is in bits; `phone_purity` is the share of frames whose phone is the commonest of their unit, `pnmi` the part of
    the phones' entropy that the units explain (HuBERT, arXiv 2106.07447).
    """
    shares = counts[counts > 0] / counts.sum()
    found: dict[str, float] = {
        "clusters": len(counts),
        "dead": int((counts == 0).sum()),
        "tiny": int(((counts > 0) & (counts < _TINY * counts.mean())).sum()),
        "coverage": float((counts > 0).mean()),
        "entropy": _entropy(shares),
    }
    if held_out.frames:
        found["held_out_inertia"] = math.fsum(held_out.squares) / held_out.frames
        found["dedup_ratio"] = held_out.units / held_out.frames
        found["units_per_second"] = frame_rate * held_out.units / held_out.frames
    if held_out.joint:
        joint = np.stack(list(held_out.joint.values())).astype(np.float64)
        joint /= joint.sum()
        phones, units = joint.sum(1), joint.sum(0)
        mutual = _entropy(phones) + _entropy(units) - _entropy(joint.ravel())
        found["phone_purity"] = float(joint.max(0).sum())
        found["cluster_purity"] = float(joint.max(1).sum())
        found["pnmi"] = mutual / _entropy(phones) if len(phones) > 1 else 0.0
    return found


def collapse(quality: Mapping[str, float]) -> str:
    """Why a codebook with these figures is of no use; empty if it is, or if nothing is known."""
    if "entropy" not in quality or quality["clusters"] < 2:
        return ""
    largest = math.log2(quality["clusters"])
    if quality["coverage"] < _LEAST_COVERAGE or quality["entropy"] < _LEAST_ENTROPY * largest:
        return (
            f"{quality['coverage']:.0%} of {quality['clusters']:.0f} units are used (at least {_LEAST_COVERAGE:.0%} wanted), "
            f"with an entropy of {quality['entropy']:.2f} bits of {largest:.2f} (at least {_LEAST_ENTROPY * largest:.2f})"
        )
    return ""


def phones_of_frames(phonemes: Sequence[Mapping[str, object]], frames: int, frame_rate: float) -> list[str]:
    """The phone at the middle of each frame, from `symbol`, `start` and `end` in seconds, in order; empty outside of all."""
    starts = np.array([phone["start"] for phone in phonemes], np.float64)
    middles = (np.arange(frames) + 0.5) / frame_rate
    found = np.searchsorted(starts, middles, side="right") - 1
    return [
        str(phonemes[i]["symbol"]) if i >= 0 and middle < float(str(phonemes[i]["end"])) else ""
        for i, middle in zip(found, middles, strict=True)
    ]


def joint_counts(phones: Sequence[str], labels: np.ndarray, clusters: int) -> dict[str, np.ndarray]:
    """Phone → int64 [K]: how often each unit stands on it; frames without a phone are left out."""
    names = np.array(phones, dtype=object)
    return {
        phone: np.bincount(labels[names == phone], minlength=clusters).astype(np.int64) for phone in sorted(set(phones) - {""})
    }


def _entropy(shares: np.ndarray) -> float:
    """In bits."""
    positive = shares[shares > 0]
    return float(-(positive * np.log2(positive)).sum())
