"""One pass over frames: the first centroids, the statistics of an iteration. Legend: N frames, K clusters, d dimensions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from spire_ray.units import codec, quality
from spire_ray.units.kmeans import Assigner
from spire_ray.units.lloyd import SEEDING_FRAMES, State, Statistics, exponent
from spire_ray.units.quality import Tally

_FRAMES_AT_ONCE = 16_384
_SUMMED_AT_ONCE = 128
"""Frames whose float64 copies stay in a core's cache: three times as fast as all at once."""
_SEEDING_ROUNDS = 64


class FaissAssigner:
    """`Assigner` by faiss: a flat index in float32, whose ties fall as they may."""

    def __init__(self, centroids: np.ndarray, device: str = "cpu") -> None:
        import faiss

        self._index: Any = faiss.IndexFlatL2(centroids.shape[1])
        if device != "cpu":
            self._index = faiss.index_cpu_to_all_gpus(self._index)
        self._index.add(np.ascontiguousarray(centroids, np.float32))

    def labels(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames [N, d] → labels int64 [N]."""
        found = self._index.search(frames.float().cpu().numpy(), 1)[1][:, 0]
        return torch.from_numpy(found).to(frames.device)


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
    """k-means||: in some 64 rounds, frames are drawn by their squared distance to those drawn before. Float32 [K, d].

    Raises ValueError when there are fewer frames than clusters.
    """
    if len(frames) < clusters:
        raise ValueError(f"clusters={clusters}: only {len(frames)} frames were sampled; raise hours or lower clusters")
    given = frames.float()
    frames = given - given.mean(0)  # float32 then tells more of the distances
    norms = frames.square().sum(1)
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(frames), (1,), generator=draw)
    closest = torch.full_like(norms, torch.inf)
    added = chosen
    while True:
        seeds = frames[added.to(frames.device)]
        reached = torch.addmm(seeds.square().sum(1), frames, seeds.T, alpha=-2).amin(1) + norms
        closest = torch.minimum(closest, reached.clamp_min(0))
        closest[added.to(frames.device)] = 0
        missing = clusters - len(chosen)
        if not missing:
            return given[chosen.to(given.device)].cpu().numpy()
        # a frame that lies on a chosen one can still be drawn where nothing else is left
        weights = closest.double().cpu().clamp_min(1e-30)
        weights[chosen] = 0
        added = torch.multinomial(weights, min(missing, -(-clusters // _SEEDING_ROUNDS)), generator=draw)
        chosen = torch.cat([chosen, added])


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
