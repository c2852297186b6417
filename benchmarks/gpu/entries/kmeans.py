"""One exact iteration of Lloyd's algorithm at SPIRE's size, against flash-kmeans and a plain product with its argmax."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch

from benchmarks.frames import DIMENSIONS, speech_like
from benchmarks.gpu import machine
from benchmarks.gpu.entry import Absent, Day, Entry, Findings
from spire_ray.units.kmeans import lloyd, passes
from spire_ray.units.kmeans.assigner import Assigner

ENTRY = Entry("one exact Lloyd iteration, K = 5000, d = 1024, against flash-kmeans", minutes=3)
FRAMES, CLUSTERS = 50_000_000, 5_000
TARGET_SECONDS, TIMES_PEER = 0.90, 1.15
_MADE_AT_ONCE = 1 << 19
_SHARE_OF_CARD = 0.75


def run(day: Day) -> None:
    """Ours, the peers, labels and profile."""
    clusters = 50 if day.small else CLUSTERS
    frames = _frames(day)
    centroids = passes.fit(frames[: 20 * clusters], clusters, iterations=1, seed=0).centroids
    taken: dict[str, float] = {}
    day.check("ours", partial(ours, day, frames, centroids, taken))
    day.check("product and argmax", partial(product, day, frames, centroids, taken))
    day.check("flash-kmeans", partial(flash, day, frames, centroids, taken))
    day.check("labels", partial(labels, day, frames, centroids))


def ours(day: Day, frames: torch.Tensor, centroids: Any, taken: dict[str, float], found: Findings) -> None:
    """Assignment, statistics and new centroids; and each by itself."""
    grid = lloyd.exponent(float(frames[:1000].abs().max()) * 4, len(frames))
    state = lloyd.State.begin(centroids)

    def iteration() -> None:
        state.step(passes.statistics(frames, Assigner(centroids, day.device), len(centroids), grid), grid, 0)

    assigner = Assigner(centroids, day.device)
    taken["ours"] = _timed(day, iteration, found, "iteration_s", len(frames), len(centroids))
    taken["our labels"] = _timed(day, lambda: assigner.labels(frames), found, "labels_s", len(frames), len(centroids))
    if day.on_gpu:
        found.target("seconds_for_5e7_frames", taken["ours"] * FRAMES / len(frames), at_most=TARGET_SECONDS)
    some = frames[: 1 << 17]
    text = machine.profile(lambda: passes.statistics(some, Assigner(centroids, day.device), len(centroids), grid), day.device)
    day.keep_text("profile", text)


def product(day: Day, frames: torch.Tensor, centroids: Any, taken: dict[str, float], found: Findings) -> None:
    """Scores of bfloat16 in the memory of the card: labels alone, and not exact."""
    wide = torch.from_numpy(centroids).to(day.device)
    half, halves = wide.bfloat16(), (wide.square().sum(1) / 2).bfloat16()

    def assigned() -> torch.Tensor:
        return torch.cat([(part @ half.T).sub_(halves).argmax(1) for part in frames.split(1 << 16)])

    seconds = _timed(day, assigned, found, "labels_s", len(frames), len(centroids))
    if "our labels" in taken:
        found["our_labels_are_times_faster"] = seconds / taken["our labels"]


def flash(day: Day, frames: torch.Tensor, centroids: Any, taken: dict[str, float], found: Findings) -> None:
    """The peer's own iteration, from the same centroids."""
    if find_spec("flash_kmeans") is None or not day.on_gpu:
        raise Absent("flash-kmeans wants a GPU and its package")
    from flash_kmeans import batch_kmeans_Euclid

    start = torch.from_numpy(centroids).to(day.device, frames.dtype)[None]

    def iterations(number: int) -> float:
        call = partial(batch_kmeans_Euclid, frames[None], len(centroids), max_iters=number, init_centroids=start, tol=-1.0)
        return machine.median_seconds(call, "cuda", 2, 1)

    seconds = found["iteration_s"] = (iterations(3) - iterations(1)) / 2  # without what it does once
    if "ours" in taken:
        found.target("ours_is_times_faster", seconds / taken["ours"], at_least=TIMES_PEER)


def labels(day: Day, frames: torch.Tensor, centroids: Any, found: Findings) -> None:
    """Against float64."""
    some = frames[:: max(1, len(frames) // 100_000)][:100_000]
    wide = torch.from_numpy(centroids).to(day.device).double()
    halves = wide.square().sum(1) / 2
    exact = torch.cat([(part.double() @ wide.T - halves).argmax(1) for part in some.split(4096)])
    found.at_least("equal_to_float64", float((Assigner(centroids, day.device).labels(some) == exact).double().mean()), 1.0)


def _frames(day: Day) -> torch.Tensor:
    """As many as the card takes, bfloat16, made there."""
    count = 5_000
    if day.on_gpu:
        count = min(FRAMES, int(_SHARE_OF_CARD * torch.cuda.mem_get_info()[0] / 2 / DIMENSIONS))
    frames = torch.empty(count, DIMENSIONS, dtype=torch.bfloat16, device=day.device)
    for number, part in enumerate(frames.split(_MADE_AT_ONCE)):
        part.copy_(speech_like(len(part), number, day.device))
    return frames


def _timed(day: Day, work: Callable[[], Any], found: Findings, name: str, frames: int, clusters: int) -> float:
    """Seconds of a call by the wall clock, for there is work of the host in it, and its share of the card's limit."""

    def waited() -> None:
        work()
        if day.on_gpu:
            torch.cuda.synchronize()

    seconds = machine.median_seconds(waited, "cpu", 3, 1)
    found[name], found["frames"] = seconds, frames
    share = 2 * frames * clusters * DIMENSIONS / seconds / 1e12 / machine.limits(day.device)["bf16_tflops"]
    found[name.removesuffix("_s") + "_share_of_limit"] = round(share, 3)
    return seconds
