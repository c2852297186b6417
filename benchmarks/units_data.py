"""What labelling is measured on: random weights of the true shapes, clips as long as those of corpora, and the true labels."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from spire_ray.settings import SAMPLE_RATE, EncoderSettings
from spire_ray.units.codebook import Codebook
from spire_ray.units.codec import deduplicate
from spire_ray.units.encoders import pretrained
from spire_ray.units.encoders.loading import load_encoder

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


def flops(config: dict[str, Any], layer: int, clusters: int, samples: int) -> float:
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
