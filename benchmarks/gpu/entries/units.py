"""Hours of audio per hour of a GPU, from PCM to units in the memory of the host, at HuBERT-large's shape."""

import tempfile
from functools import partial
from typing import Any

import numpy as np

from benchmarks import units, units_data, units_peer
from benchmarks.gpu import machine
from benchmarks.gpu.entry import Day, Entry, Findings
from benchmarks.gpu.machine import median_seconds
from benchmarks.gpu.models import SMALL_ENCODER
from spire_ray.audio.pcm import to_pcm
from spire_ray.settings import SAMPLE_RATE
from spire_ray.units.codebook import Codebook
from spire_ray.units.labeler import Labeler

ENTRY = Entry("hours of audio per GPU-hour, HuBERT-large, K = 5000, against padded batches", minutes=4)
TARGET, TIMES_PEER = 13_000, 5.0


def run(day: Day) -> None:
    """Ours, the peer, agreement, parts and profile."""
    config, layer, clusters = (SMALL_ENCODER, 2, 50) if day.small else units_data.SHAPES["hubert-large"]
    with tempfile.TemporaryDirectory() as folder:
        codebook = units_data.random_codebook(folder, config, layer, clusters, day.device)
        clips = list(units_data.synthetic_clips(60 if day.small else 3600, seed=1))
        speeds: dict[str, float] = {}
        day.check("first batch", partial(first_batch, day, folder, codebook, clips))
        for batch_seconds in (240, 960) if day.on_gpu else (240,):
            work = partial(ours, day, folder, codebook, clips, batch_seconds, config, speeds)
            day.check(f"ours, {batch_seconds} s a batch", work)
        day.check("peer", partial(peer, day, folder, codebook, clips, speeds))
        day.check("agreement", partial(agreement, day, folder, codebook, clips))
        day.check("parts", partial(parts, day, folder, codebook, clips))


def first_batch(day: Day, folder: str, codebook: Codebook, clips: list[np.ndarray], found: Findings) -> None:
    """What the first batches of a process pay for compiling, and whether new lengths compile anew."""
    labeler = _labeler(folder, codebook, day)
    for number in range(3):
        some = clips[number * 4 : number * 4 + 4]
        found[f"batch_{number + 1}_s"] = machine.seconds(lambda some=some: labeler(some), "cpu", 1, 0)[0]  # type: ignore[misc]


def ours(
    day: Day, folder: str, codebook: Codebook, clips: list[np.ndarray], batch_seconds: int, config: Any, speeds: dict[str, float],
    found: Findings,
) -> None:  # fmt: skip
    """16-bit samples → deduplicated units."""
    labeler, pcm = _labeler(folder, codebook, day, batch_seconds), [to_pcm(clip) for clip in clips]
    taken = median_seconds(lambda: labeler(pcm, deduplicate=True), "cpu", 1 if day.small else 5, 2)
    speeds[f"ours {batch_seconds}"] = speed = units_seconds(clips) / taken
    found.target("x_real_time", speed, at_least=TARGET)
    flops = sum(units_data.flops(config, codebook.encoder.layer, len(codebook.centroids), len(clip)) for clip in clips)
    found["share_of_limit"] = round(flops / taken / 1e12 / machine.limits(day.device)["bf16_tflops"], 3)


def peer(day: Day, folder: str, codebook: Codebook, clips: list[np.ndarray], speeds: dict[str, float], found: Findings) -> None:
    """The way of SpireLM in bfloat16, from float32 samples."""
    reference = units_peer.Reference(folder, codebook, "bfloat16", day.device)
    taken = median_seconds(lambda: reference(clips), "cpu", 1 if day.small else 3, 1)
    found["x_real_time"] = units_seconds(clips) / taken
    if speeds:
        found.target("ours_is_times_faster", max(speeds.values()) / found.figures["x_real_time"], at_least=TIMES_PEER)


def agreement(day: Day, folder: str, codebook: Codebook, clips: list[np.ndarray], found: Findings) -> None:
    """Labels against Hugging Face in float32, clip by clip, with float64 scores."""
    some = clips[:50]
    truth = units_data.truth_of(folder, codebook, some, day.device)
    theirs = units_data.agreement(units_peer.Reference(folder, codebook, "bfloat16", day.device)(some), truth)
    found["reference_bfloat16"] = theirs["frames_equal"]
    half = units_data.agreement(_labeler(folder, codebook, day)(some), truth)
    found.at_least("bfloat16", half["frames_equal"], theirs["frames_equal"] - 0.01)
    exact = Labeler.from_pretrained(folder, codebook, device=day.device)
    found.at_least("float32", units_data.agreement(exact(some), truth)["frames_equal"], 0.998)


def parts(day: Day, folder: str, codebook: Codebook, clips: list[np.ndarray], found: Findings) -> None:
    """Seconds of each part, waited for, and the kernels."""
    found.figures |= units.parts(folder, codebook, clips, day.device)
    labeler = _labeler(folder, codebook, day)
    labeler(clips[:20])
    day.keep_text("profile", machine.profile(lambda: labeler(clips[:20]), day.device))


def units_seconds(clips: list[np.ndarray]) -> float:
    """Of audio."""
    return sum(len(clip) for clip in clips) / SAMPLE_RATE


def _labeler(folder: str, codebook: Codebook, day: Day, batch_seconds: float = 240) -> Labeler:
    return Labeler.from_pretrained(folder, codebook, dtype="bfloat16", device=day.device, batch_seconds=batch_seconds)
