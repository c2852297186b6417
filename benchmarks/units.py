"""Units from waveforms: this package against the way of SpireLM, and how far both are from the machine's limit.

    python benchmarks/units.py [--shapes hubert-large mhubert-147] [--seconds 60] [--output benchmarks/results/units.json]
    python benchmarks/units.py --device cuda --seconds 7200   # a GPU; never run so far

Random weights of the true shapes, centroids drawn from their own features, synthetic clips as long as those of corpora; PCM in
host memory → units in host memory. The reference is written anew from the facts: batches of 240 s sorted by length and padded,
Hugging Face's model under its mask, the whole distance matrix, argmin, labels to Python lists. Systems run in turn, medians are
printed; CPU-seconds of the process stand beside the wall clock, since only they say something on a busy machine.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from spire_ray.core import storage
from spire_ray.settings import SAMPLE_RATE, EncoderSettings
from spire_ray.units.codebook import Codebook
from spire_ray.units.codec import deduplicate
from spire_ray.units.encoders import pretrained
from spire_ray.units.encoders.encoder import load_encoder, normalize
from spire_ray.units.kernels import attention
from spire_ray.units.kernels.products import Linear
from spire_ray.units.labeler import Labeler

LARGE = {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
}
SHAPES: dict[str, tuple[dict[str, Any], int, int]] = {
    "hubert-large": (LARGE, 22, 5000),
    "mhubert-147": ({"feat_extract_norm": "group"}, 9, 1000),
}
"""Configuration, layer, clusters. Layers beyond the cut are not made."""
BATCH_SECONDS = 240
DTYPES = ("bfloat16", "float32")


def main() -> None:
    """Measure, print and write JSON."""
    from spire_ray.core.provenance import versions  # wants pydantic, which a bare GPU machine does not have

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--seconds", type=float, default=60.0, help="audio of a run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--output", default="")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {
        "benchmark": "units",
        "device": torch.cuda.get_device_name() if options.device == "cuda" else f"{options.threads} threads",
        "machine": {"cores": os.cpu_count(), "processor": platform.processor(), "load": os.getloadavg()},
        "versions": versions(),
        "shapes": {},
    }
    for shape in options.shapes:
        with tempfile.TemporaryDirectory() as folder:
            report["shapes"][shape] = _measure(shape, folder, options)
        if options.output:
            storage.write_json(options.output, report)


def _measure(shape: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    config, layer, clusters = SHAPES[shape]
    codebook = random_codebook(folder, config, layer, clusters)
    clips = list(synthetic_clips(options.seconds, seed=1))
    seconds = sum(len(clip) for clip in clips) / SAMPLE_RATE
    systems = _systems(folder, codebook, options.device)
    labels = {name: system(clips) for name, system in systems.items()}  # warms up as well
    on_gpu = options.device == "cuda"
    for system in systems.values() if on_gpu else ():
        system(clips)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
    products: dict[str, list[float]] = {name: [] for name in DTYPES}
    for _ in range(options.runs):
        for name, system in systems.items():
            taken[name].append(_timed(lambda system=system: system(clips)))
        for name in DTYPES:
            products[name].append(_rate(getattr(torch, name), options.device))
    rates = {name: round(statistics.median(found)) for name, found in products.items()}
    rows = {}
    flops = sum(_flops(config, layer, clusters, len(clip)) for clip in clips)
    truth = truth_of(folder, codebook, clips, options.device)
    for name, runs in taken.items():
        wall, cpu = (statistics.median(run[i] for run in runs) for i in (0, 1))
        rows[name] = {
            "wall_s": round(wall, 3),
            "cpu_s": round(cpu, 3),
            "x_real_time": round(seconds / wall, 1),
            "x_real_time_per_cpu_second": round(seconds / cpu, 2),
            "share_of_matrix_product": round(flops / (wall if on_gpu else cpu) / 1e9 / rates[name.split()[1]], 3),
            "wall_spread": [round(min(run[0] for run in runs), 3), round(max(run[0] for run in runs), 3)],
            "cpu_spread": [round(min(run[1] for run in runs), 3), round(max(run[1] for run in runs), 3)],
            **agreement(labels[name], truth),
        }
        print(f"{shape:13} {name:19}", rows[name], flush=True)
    return {
        "layer": layer,
        "clusters": clusters,
        "clips": len(clips),
        "seconds": round(seconds, 1),
        "matrix_product_gflops": rates,
        "gflop_per_second_of_audio": round(flops / seconds / 1e9, 2),
        "padding_of_the_reference": round(_padding(clips), 4),
        "systems": rows,
        "ratios": _ratios(rows, "wall_s" if on_gpu else "cpu_s"),
        "parts_s": _parts(folder, codebook, clips, options.device),
    }


def _systems(folder: str, codebook: Codebook, device: str) -> dict[str, Callable[[list[np.ndarray]], list[np.ndarray]]]:
    def ours(dtype: str) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
        return Labeler.from_pretrained(folder, codebook, dtype=dtype, device=device, batch_seconds=BATCH_SECONDS)

    return {f"spire-ray {dtype}": ours(dtype) for dtype in DTYPES} | {
        f"reference {dtype}": Reference(folder, codebook, dtype, device) for dtype in DTYPES
    }


class Reference:
    """The way of SpireLM: padded batches, Hugging Face, the whole distance matrix."""

    def __init__(self, folder: str, codebook: Codebook, dtype: str, device: str) -> None:
        from transformers import AutoModel

        self._dtype, self._device = getattr(torch, dtype), device
        self._model = AutoModel.from_pretrained(folder, dtype=self._dtype).eval().to(device)
        self._model.encoder.layers = self._model.encoder.layers[: codebook.encoder.layer]
        if self._model.config.do_stable_layer_norm:
            self._model.encoder.layer_norm = torch.nn.Identity()
        centroids = torch.from_numpy(codebook.centroids.T.copy())
        self._centroids = centroids.to(device, self._dtype)
        self._squares = centroids.square().sum(0, keepdim=True).to(device, self._dtype)

    @torch.inference_mode()
    def __call__(self, clips: list[np.ndarray]) -> list[np.ndarray]:
        """Waveforms → frame labels of each."""
        found: dict[int, list[int]] = {}
        for batch in _padded_batches(clips):
            waveforms = [torch.from_numpy(normalize(clips[i])) for i in batch]
            padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True).to(self._device, self._dtype)
            lengths = torch.tensor([len(waveform) for waveform in waveforms])
            mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long().to(self._device)
            frames = self._model(padded, attention_mask=mask).last_hidden_state
            kept = self._model._get_feature_vector_attention_mask(frames.shape[1], mask)
            distances = frames.pow(2).sum(-1, keepdim=True) - 2 * torch.matmul(frames, self._centroids) + self._squares
            labels = distances.argmin(-1).masked_fill_(~kept, -1).cpu().tolist()
            found.update({i: [label for label in row if label >= 0] for i, row in zip(batch, labels, strict=True)})
        return [np.array(found[i]) for i in range(len(clips))]


def _padded_batches(clips: list[np.ndarray]) -> Iterator[list[int]]:
    """Clips by length, in batches of at most 240 s with their padding."""
    batch: list[int] = []
    for i in sorted(range(len(clips)), key=lambda i: len(clips[i])):
        if batch and (len(batch) + 1) * len(clips[i]) > BATCH_SECONDS * SAMPLE_RATE:
            yield batch
            batch = []
        batch.append(i)
    yield batch


def _padding(clips: list[np.ndarray]) -> float:
    batches = list(_padded_batches(clips))
    return 1 - sum(len(clip) for clip in clips) / sum(len(batch) * max(len(clips[i]) for i in batch) for batch in batches)


def random_codebook(folder: str, config: dict[str, Any], layer: int, clusters: int, device: str = "cpu") -> Codebook:
    """A random model in the folder, and frames of its own as centroids."""
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    HubertModel(HubertConfig(num_hidden_layers=layer, **config)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    encoder = load_encoder(EncoderSettings(name=folder, layer=layer, dtype="bfloat16"), device)
    frames = torch.cat(encoder.encode(list(synthetic_clips(clusters / 40, seed=2)))).cpu().numpy()
    centroids = frames[np.random.default_rng(0).permutation(len(frames))[:clusters]].copy()
    return Codebook.create(centroids, EncoderSettings(name=folder, layer=layer), encoder.identity, {})


def synthetic_clips(seconds: float, seed: int) -> Iterator[np.ndarray]:
    """Clips of 0.5 to 30 s, 12 s on average: tones that change ten times a second, over noise."""
    draw = np.random.default_rng(seed)
    while seconds > 0:
        length = min(float(np.clip(draw.gamma(4.0, 3.0), 0.5, 30.0)), max(seconds, 0.5))
        seconds -= length
        count = round(length * SAMPLE_RATE)
        steps = count // 1600 + 1
        pitch = np.repeat(draw.uniform(80, 3000, (3, steps)), 1600, axis=1)[:, :count]
        loudness = np.repeat(draw.uniform(0, 0.2, (3, steps)), 1600, axis=1)[:, :count]
        tones = (loudness * np.sin(2 * np.pi * np.cumsum(pitch, axis=1) / SAMPLE_RATE)).sum(0)
        yield (tones + draw.standard_normal(count) * 0.02).astype(np.float32)


def _flops(config: dict[str, Any], layer: int, clusters: int, samples: int) -> float:
    """Of one clip at its true length, two for each multiplication with addition."""
    from transformers import HubertConfig

    shape = HubertConfig(**config)
    total, channels, frames = 0.0, 1, samples
    for out, kernel, stride in zip(shape.conv_dim, shape.conv_kernel, shape.conv_stride, strict=True):
        frames = (frames - kernel) // stride + 1
        total += 2.0 * frames * kernel * channels * out
        channels = out
    d, inner = shape.hidden_size, shape.intermediate_size
    positions = shape.num_conv_pos_embeddings * d * d // shape.num_conv_pos_embedding_groups
    blocks = layer * (4 * d * d + 2 * d * inner + 2 * frames * d)
    return total + 2.0 * frames * (channels * d + positions + blocks + d * clusters)


def truth_of(folder: str, codebook: Codebook, clips: list[np.ndarray], device: str) -> list[np.ndarray]:
    """Hugging Face's own forward pass in float32, clip by clip, and the best float64 score."""
    plain = pretrained.load(EncoderSettings(name=folder, layer=codebook.encoder.layer), device, plain=True)
    centroids = torch.from_numpy(codebook.centroids).double().to(device)
    halves = centroids.square().sum(1) / 2
    scores = ((frames.double() @ centroids.T - halves) for clip in clips for frames in plain.encode([clip]))
    return [score.argmax(1).cpu().numpy() for score in scores]


def agreement(labels: list[np.ndarray], truth: list[np.ndarray]) -> dict[str, float]:
    """Equal frames, and the edit rate of the deduplicated units."""
    equal = sum(int((a == b).sum()) for a, b in zip(labels, truth, strict=True)) / sum(len(b) for b in truth)
    pairs = [(deduplicate(a)[0], deduplicate(b)[0]) for a, b in zip(labels, truth, strict=True)]
    return {
        "frames_equal": round(equal, 5),
        "unit_edit_rate": round(sum(edits(a, b) for a, b in pairs) / sum(len(b) for _, b in pairs), 5),
    }


def edits(one: np.ndarray, other: np.ndarray) -> int:
    """Levenshtein distance, a row at a time."""
    previous = np.arange(len(other) + 1)
    columns = np.arange(len(other) + 1)
    for i, unit in enumerate(one, 1):
        row = np.minimum(previous[1:] + 1, previous[:-1] + (other != unit))
        previous = np.minimum.accumulate(np.concatenate([[i], row]) - columns) + columns
    return int(previous[-1])


def _ratios(rows: dict[str, dict[str, Any]], measure: str) -> dict[str, float]:
    ours, best = rows["spire-ray bfloat16"], rows["spire-ray float32"]
    return {
        f"bfloat16 against the reference's float32 ({measure})": round(rows["reference float32"][measure] / ours[measure], 2),
        f"bfloat16 against the reference's bfloat16 ({measure})": round(rows["reference bfloat16"][measure] / ours[measure], 2),
        f"float32 against the reference's float32 ({measure})": round(rows["reference float32"][measure] / best[measure], 2),
    }


def _parts(folder: str, codebook: Codebook, clips: list[np.ndarray], device: str) -> dict[str, float]:
    """Seconds of the parts of the bfloat16 path; each is waited for on a GPU, so that their sum is an upper bound."""
    labeler = Labeler.from_pretrained(folder, codebook, dtype="bfloat16", device=device, batch_seconds=BATCH_SECONDS)
    packed = labeler.encoder._packed  # type: ignore[attr-defined]
    taken: dict[str, float] = {}
    for name, part in {
        "_features": "front end",
        "_positions": "positions",
        "_fed_forward": "feed-forward",
        "_add_norm": "norms",
    }.items():
        setattr(packed, name, _watched(getattr(packed, name), part, taken, device))
    attended = _watched(packed._attended, "attention and its projections", taken, device)
    packed._attended = attended
    nearest = _watched(labeler._assign.labels, "nearest centroid", taken, device)
    labeler._assign = SimpleNamespace(labels=nearest)  # type: ignore[assignment]
    whole = _watched(labeler, "all", taken, device)
    packed = attention.packed_attention
    with mock.patch.object(attention, "packed_attention", lambda *given: _watched(packed(*given), "attention", taken, device)):
        whole(clips)
    taken["projections of the attention"] = taken.pop("attention and its projections") - taken["attention"]
    taken["rest"] = 2 * taken["all"] - sum(taken.values())
    return {part: round(seconds, 4) for part, seconds in taken.items()}


def _watched(function: Callable[..., Any], part: str, taken: dict[str, float], device: str) -> Callable[..., Any]:
    def call(*given: Any) -> Any:
        wall, cpu = _timed(lambda: made.append(function(*given)), device)
        taken[part] = taken.get(part, 0.0) + (wall if device == "cuda" else cpu)
        return made.pop()

    made: list[Any] = []
    return call


def _timed(work: Callable[[], Any], device: str = "cpu") -> tuple[float, float]:
    """Wall and CPU seconds of this process."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, time.process_time() - cpu


def _rate(dtype: torch.dtype, device: str) -> float:
    """GFLOP/s of a product of the feed-forward, by the wall clock of a GPU or the CPU-seconds of a core."""
    rows = 1500 if device == "cpu" else 12_000
    x, weight = (torch.randn(n, 1024, device=device).to(dtype) for n in (rows, 4096))
    product = Linear(weight, None)
    runs = [_timed(lambda: product(x), device)[device == "cpu"] for _ in range(30)]
    return 2 * rows * 1024 * 4096 / statistics.median(runs[10:]) / 1e9


if __name__ == "__main__":
    main()
