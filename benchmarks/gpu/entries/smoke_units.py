"""Labeler, assigner, k-means and deduplication on the card, against exact results of the CPU."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.frames import speech_like
from benchmarks.gpu.entry import Day, Entry, Findings
from benchmarks.units_data import agreement, synthetic_clips
from spire_ray.audio.pcm import from_pcm
from spire_ray.settings import EncoderSettings
from spire_ray.units import codec
from spire_ray.units.codebook import Codebook
from spire_ray.units.encoders import pretrained
from spire_ray.units.encoders.loading import load_encoder
from spire_ray.units.kmeans import passes
from spire_ray.units.kmeans.assigner import Assigner, inertia
from spire_ray.units.kmeans.lloyd import exponent
from spire_ray.units.labeler import Labeler
from tests.units.tiny_encoders import save_all

ENTRY = Entry("encoders of four families, assigner, k-means, deduplication", minutes=1.5)
LAYER = 2
FAMILIES = ("large", "base", "wav2vec2", "wav2vec2-base", "w2v-bert", "whisper")


def run(day: Day) -> None:
    """All of it."""
    with tempfile.TemporaryDirectory() as folder:
        folders = save_all(Path(folder), 32 if day.small else 256)
        clips = list(synthetic_clips(60 if day.small else 240, seed=1))
        clips += [clips[0][:16_000], clips[1][:16_000], clips[0][:2_000]]
        for family in FAMILIES:
            day.check(f"labeler {family}", partial(labels, day, folders[family], clips))
    day.check("assigner", partial(assigner, day))
    day.check("k-means", partial(kmeans, day))


def labels(day: Day, folder: str, clips: list[np.ndarray], found: Findings) -> None:
    """float32 gives the CPU's labels; bfloat16 moves no more of them than Hugging Face's own forward pass does there."""
    codebook = _codebook(folder)
    truth = _exact(folder, codebook, clips, "cpu", "float32")
    ours = Labeler.from_pretrained(folder, codebook, device=day.device)
    given = ours(clips)
    found.at_least("float32_equal", agreement(given, truth)["frames_equal"], 0.998)
    units = ours(clips, deduplicate=True)
    same = all(
        np.array_equal(a, b)
        for mine, frames in zip(units, given, strict=True)
        for a, b in zip(mine, codec.deduplicate(frames), strict=True)
    )
    found.at_least("deduplication_equal", float(same), 1.0)
    plain = agreement(_exact(folder, codebook, clips, day.device, "bfloat16"), truth)["frames_equal"]
    half = Labeler.from_pretrained(folder, codebook, dtype="bfloat16", device=day.device)
    found["hugging_face_bfloat16_equal"] = plain
    found.at_least("bfloat16_equal", agreement(half(clips), truth)["frames_equal"], plain - 0.02)
    pcm = [(np.clip(clip, -1, 1) * 32767).astype(np.int16) for clip in clips]
    found.at_least("pcm_equal", agreement(half(pcm), half([from_pcm(clip) for clip in pcm]))["frames_equal"], 1.0)


def assigner(day: Day, found: Findings) -> None:
    """The nearest centroid of every frame is that of float64, for filters in bfloat16 and float32."""
    clusters, frames = (600, 4_000) if day.small else (5_000, 100_000)
    centroids, given = speech_like(clusters, 1).numpy(), speech_like(frames, 0)
    wide = torch.from_numpy(centroids).double().to(day.device)
    halves = wide.square().sum(1) / 2
    exact = torch.cat([(part.to(day.device).double() @ wide.T - halves).argmax(1) for part in given.split(4096)]).cpu().numpy()
    for name in ("bfloat16", "float32"):
        chosen = Assigner(centroids, day.device, getattr(torch, name))
        found.at_least(f"{name}_equal", float((chosen(given) == exact).mean()), 1.0)
        found.at_least(f"{name}_of_bfloat16_frames_equal", float((chosen(given.bfloat16().to(day.device)) == exact).mean()), 1.0)


def kmeans(day: Day, found: Findings) -> None:
    """Statistics are those of the CPU to the bit; a whole fit is as good as the CPU's."""
    clusters, frames = (100, 5_000) if day.small else (500, 40_000)
    given = speech_like(frames, 0).bfloat16()
    here = passes.fit(given, clusters, iterations=1, seed=0)
    grid = exponent(float(given.abs().max()), len(given))
    made = [passes.statistics(x, Assigner(here.centroids, str(x.device)), clusters, grid) for x in (given, given.to(day.device))]
    found.at_least("sums_equal", float(np.array_equal(made[0].sums, made[1].sums)), 1.0)
    found.at_least("counts_equal", float(np.array_equal(made[0].counts, made[1].counts)), 1.0)
    fits = [passes.fit(x, clusters, iterations=5, seed=0).centroids for x in (given, given.to(day.device))]
    cpu, card = (inertia(given.float().numpy(), centroids) for centroids in fits)
    found.at_most("inertia_against_cpu", card / cpu, 1.01)
    again = passes.fit(given.to(day.device), clusters, iterations=5, seed=0).centroids
    found.at_least("repeatable", float(np.array_equal(again, fits[1])), 1.0)


def _codebook(folder: str) -> Codebook:
    """Frames of other audio as centroids."""
    settings = EncoderSettings(name=folder, layer=LAYER)
    encoder = load_encoder(settings)
    frames = torch.cat(encoder.encode(list(synthetic_clips(20, seed=99)))).numpy()
    centroids = frames[np.random.default_rng(0).permutation(len(frames))[:64]].copy()
    return Codebook.create(centroids, settings, encoder.identity, {})


def _exact(folder: str, codebook: Codebook, clips: list[np.ndarray], device: str, dtype: str) -> list[np.ndarray]:
    """Hugging Face's own forward pass, each clip alone, and the nearest centroid by float64."""
    plain = pretrained.load(EncoderSettings(name=folder, layer=LAYER, dtype=dtype), device, plain=True)  # type: ignore[arg-type]
    centroids = torch.from_numpy(codebook.centroids).double()
    return [torch.cdist(plain.encode([clip])[0].double().cpu(), centroids).argmin(1).numpy() for clip in clips]
