"""Codebooks of several layers and sizes on the same few hours: how one chooses both for an encoder of one's own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from spire_ray.settings import EncoderSettings
from spire_ray.units import quality
from spire_ray.units.encoders.encoder import SpeechEncoder
from spire_ray.units.encoders.loading import load_encoder
from spire_ray.units.kmeans import passes
from spire_ray.units.kmeans.assigner import Assigner


def sweep(
    fitted: Sequence[np.ndarray],
    held_out: Sequence[np.ndarray],
    phonemes: Sequence[Sequence[Mapping[str, Any]]],
    encoder: EncoderSettings,
    layers: Sequence[int],
    clusters: Sequence[int],
    *,
    iterations: int,
    seed: int,
    device: str = "cpu",
) -> Iterator[dict[str, float]]:
    """Figures of each layer and number of clusters, as they come; see `quality.figures`.

    The codebooks are made of the waveforms `fitted` and measured on `held_out`, whose phones may be empty.
    """
    for layer in layers:
        loaded = load_encoder(replace(encoder, layer=layer), device)
        frames, _ = _encoded(loaded, fitted)
        others, lengths = _encoded(loaded, held_out)
        rate = loaded.identity.frame_rate
        for count in clusters:
            state = passes.fit(frames, count, iterations=iterations, seed=seed)
            assigner = Assigner(state.centroids, device)
            found = passes.tally(others, lengths, phonemes, assigner, state.centroids, rate)
            used = torch.bincount(assigner.labels(frames).long(), minlength=count).cpu().numpy()
            yield {"layer": layer, "inertia": state.inertia[-1], **quality.figures(used, found, rate)}


def _encoded(encoder: SpeechEncoder, waveforms: Sequence[np.ndarray]) -> tuple[torch.Tensor, list[int]]:
    frames = [encoder.encode([samples])[0].to(torch.bfloat16) for samples in waveforms]
    return torch.cat(frames), [len(part) for part in frames]
