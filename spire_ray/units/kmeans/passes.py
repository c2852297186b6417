"""One pass over frames: the first centroids, the statistics of an iteration. Legend: N frames, K clusters, d dimensions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from spire_ray.units import codec, quality
from spire_ray.units.kmeans.assigner import Assigner, rounding_dtype
from spire_ray.units.kmeans.lloyd import SEEDING_FRAMES, State, Statistics, exponent
from spire_ray.units.quality import Tally

_FRAMES_AT_ONCE = 16_384
_SUMMED_AT_ONCE = 128
"""Frames whose float64 copies stay in a core's cache: three times as fast as all at once."""
_SEEDING_ROUNDS, _SEEDING_TRIALS = 64, 3


class FaissAssigner:
    """`Assigner` by faiss on a CPU: a flat index in float32, whose ties fall as they may."""

    def __init__(self, centroids: np.ndarray, device: str = "cpu") -> None:
        if device != "cpu":
            raise ValueError(f"engine=faiss: works on CPUs, not on {device}; on GPUs use engine=torch, which is exact")
        import faiss

        self._index: Any = faiss.IndexFlatL2(centroids.shape[1])
        self._index.add(np.ascontiguousarray(centroids, np.float32))

    def labels(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames [N, d] → labels int64 [N]."""
        return torch.from_numpy(self._index.search(frames.float().numpy(), 1)[1][:, 0])


ENGINES = {"torch": Assigner, "faiss": FaissAssigner}


@torch.inference_mode()
def statistics(frames: torch.Tensor, assigner: Assigner | FaissAssigner, clusters: int, exponent: int) -> Statistics:
    """Sums, counts and squares of the frames [N, d] of one shard."""
    sums = torch.zeros(clusters, frames.shape[1], dtype=torch.float64, device=frames.device)
    counts = torch.zeros(clusters, dtype=torch.int64, device=frames.device)
    squares = 0.0
    for part in torch.split(frames, _FRAMES_AT_ONCE):
        labels = assigner.labels(part).long()
        counts += torch.bincount(labels, minlength=clusters)
        at_once = _SUMMED_AT_ONCE if part.device.type == "cpu" else _FRAMES_AT_ONCE
        for few, units in zip(torch.split(part, at_once), torch.split(labels, at_once), strict=True):
            wide = few.double()
            squares += float(wide.square().sum())
            sums.index_add_(0, units, wide.mul_(2.0**-exponent).round_())
    return Statistics(sums.cpu().numpy(), counts.cpu().numpy(), (squares,))


@torch.inference_mode()
def tally(
    frames: torch.Tensor,
    lengths: Sequence[int],
    phonemes: Sequence[Sequence[Mapping[str, Any]]],
    assigner: Assigner | FaissAssigner,
    centroids: np.ndarray,
    frame_rate: float,
) -> Tally:
    """What the joined frames [N, d] of utterances become; of each its length and its phones, if they are known."""
    if not len(frames):
        return Tally()
    wide = torch.from_numpy(centroids).to(frames.device).double()
    labels = torch.cat([assigner.labels(part).long() for part in torch.split(frames, _FRAMES_AT_ONCE)])
    parts = zip(torch.split(frames, _FRAMES_AT_ONCE), torch.split(labels, _FRAMES_AT_ONCE), strict=True)
    squares = sum(float((part.double() - wide[units]).square().sum()) for part, units in parts)
    total = Tally(squares=(squares,))
    of_clips = np.split(labels.cpu().numpy(), np.cumsum(lengths)[:-1])
    for spoken, units in zip(phonemes, of_clips, strict=True):
        phones = quality.phones_of_frames(spoken, len(units), frame_rate) if spoken else []
        joint = quality.joint_counts(phones, units, len(centroids)) if spoken else {}
        total += Tally(len(units), len(codec.deduplicate(units)[0]), (), joint)
    return total


@torch.inference_mode()
def first_centroids(frames: torch.Tensor, clusters: int, seed: int) -> np.ndarray:
    """Greedy k-means++ in some 64 rounds: float32 [K, d].

    Frames are drawn by their squared distance to those chosen before; of each round's draw, the third is chosen that leaves the
    least inertia. Raises ValueError when there are fewer frames than clusters.
    """
    if len(frames) < clusters:
        raise ValueError(f"clusters={clusters}: only {len(frames)} frames were sampled; raise hours or lower clusters")
    given = frames.float()
    centred = given - given.mean(0)
    norms = centred.square().sum(1)
    rounded = centred.to(rounding_dtype(centred))  # a draw wants no exact distances

    def distances(some: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = (rounded @ rounded[some].T).float()
        return found.mul_(-2).add_(norms[some]).add_(norms[:, None]).clamp_min_(0)

    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(centred), (1,), generator=draw).to(centred.device)
    closest = distances(chosen)[:, 0]
    while missing := clusters - len(chosen):
        # a frame that lies on a chosen one can still be drawn where nothing else is left
        weights = closest.double().clamp_min(1e-30)
        weights[chosen] = 0
        taken = min(missing, -(-clusters // _SEEDING_ROUNDS))
        trials = min(_SEEDING_TRIALS * taken, len(centred) - len(chosen))
        drawn = torch.multinomial(weights.cpu(), trials, generator=draw).to(centred.device)
        reached = distances(drawn)
        best = (closest[:, None] - reached).clamp_min_(0).sum(0).topk(taken).indices
        closest = torch.minimum(closest, reached[:, best].amin(1))
        chosen = torch.cat([chosen, drawn[best]])
    return given[chosen].cpu().numpy()


def fit(frames: np.ndarray | torch.Tensor, clusters: int, *, iterations: int, seed: int, engine: str = "torch") -> State:
    """Lloyd's algorithm over frames [N, d] in memory. Raises ValueError when there are fewer frames than clusters."""
    given = torch.as_tensor(frames)
    some = np.random.default_rng(seed).permutation(len(given))[: SEEDING_FRAMES * clusters]
    state = State.begin(first_centroids(given[some], clusters, seed))
    grid = exponent(float(given.abs().max()), len(given))
    for _ in range(iterations):
        found = statistics(given, ENGINES[engine](state.centroids, str(given.device)), clusters, grid)
        state = state.step(found, grid, seed)
    return state
