"""Waveforms → units: encoder, nearest centroid, run lengths."""

import os
from dataclasses import replace
from importlib.metadata import version
from typing import Literal, overload

import numpy as np
import torch

from spire_ray.audio.pcm import from_pcm
from spire_ray.settings import SAMPLE_RATE
from spire_ray.units import codec
from spire_ray.units.codebook import Codebook
from spire_ray.units.encoders.loading import load_encoder
from spire_ray.units.kmeans.assigner import Assigner

Units = tuple[np.ndarray, np.ndarray]
"""Deduplicated units uint16 [n] and their durations in frames, uint16 [n]."""


_DTYPES: dict[str, Literal["float32", "bfloat16"]] = {"float32": "float32", "bfloat16": "bfloat16"}


class Labeler:
    """A codebook at work, with its encoder loaded on one device."""

    def __init__(self, codebook: Codebook, device: str = "cpu", batch_seconds: float = 240.0) -> None:
        self.encoder = load_encoder(codebook.encoder, device)
        # a folder may be called anything: the hash of the weights says which encoder it is
        loaded = replace(self.encoder.identity, encoder=codebook.fingerprint.identity.encoder)
        codebook.check_encoder(loaded, "the codebook")
        self.fingerprint = codebook.fingerprint
        self._assign = Assigner(codebook.centroids, device)
        self._batch_samples = batch_seconds * SAMPLE_RATE
        self._device, self._dtype = torch.device(device), codebook.encoder.dtype

    @property
    def numerics(self) -> dict[str, str]:
        """What decides the last bits of a frame: dtype, kind of processor and versions."""
        kind = torch.backends.cpu.get_cpu_capability()
        if self._device.type == "cuda":
            kind = torch.cuda.get_device_name(self._device)
        versions = {"torch": torch.__version__, "transformers": version("transformers")}
        return {"dtype": self._dtype, "device": self._device.type, "processor": kind, **versions}

    @classmethod
    def from_pretrained(
        cls,
        encoder: str | os.PathLike[str],
        codebook: Codebook | str | os.PathLike[str],
        layer: int | None = None,
        dtype: str | torch.dtype | None = None,
        device: str = "cpu",
        batch_seconds: float = 240.0,
    ) -> "Labeler":
        """The labeler of an encoder, a Hugging Face name or a folder, and a codebook or its folder.

        Layer and dtype are the codebook's unless given. Raises ValueError for a layer or an encoder that the codebook was
        not fitted on, and a device that is not there.
        """
        encoder = os.fspath(encoder)
        codebook = codebook if isinstance(codebook, Codebook) else Codebook.load(codebook)
        settings = codebook.encoder
        if layer is not None and layer != settings.layer:
            raise ValueError(f"layer={layer}: the codebook was fitted on layer {settings.layer} of {settings.name}; leave it out")
        named = str(dtype or settings.dtype).removeprefix("torch.")
        if named not in _DTYPES:
            raise ValueError(f"dtype={named}: must be one of {', '.join(_DTYPES)}")
        if not _has(device):
            raise ValueError(f"device={device}: this machine or its PyTorch has no such device; cpu is always there")
        revision = settings.revision if encoder == settings.name else ""
        settings = replace(settings, name=encoder, revision=revision, dtype=_DTYPES[named])
        return cls(replace(codebook, encoder=settings), device, batch_seconds)

    @overload
    def __call__(self, waveforms: list[np.ndarray], deduplicate: Literal[False] = False) -> list[np.ndarray]: ...

    @overload
    def __call__(self, waveforms: list[np.ndarray], deduplicate: Literal[True]) -> list[Units]: ...

    def __call__(self, waveforms: list[np.ndarray], deduplicate: bool = False) -> list[np.ndarray] | list[Units]:
        """Waveforms, each at least `encoder.shortest` samples → one int array of frame labels each, in order, or `Units`.

        They are float32, or int16 PCM, which becomes float32 batch by batch: an hour of it is 230 MB, and memory that is new
        to a process costs half of what decoding does. Batches are formed of waveforms sorted by length, so that they depend on
        the given list alone. Raises ValueError for what is no waveform.
        """
        self._check(waveforms)
        order = sorted(range(len(waveforms)), key=lambda i: len(waveforms[i]))
        if not order:
            return []
        parts: list[torch.Tensor] = []
        for batch in _batches(order, [len(w) for w in waveforms], self._batch_samples):
            parts += self._label([waveforms[i] for i in batch])
        # nothing is fetched before all is queued, so that a GPU never waits
        labels, lengths = torch.cat(parts), [len(part) for part in parts]
        made = runs(labels, lengths) if deduplicate else _split(labels, lengths)
        return [found for _, found in sorted(zip(order, made, strict=True), key=lambda pair: pair[0])]  # type: ignore[return-value]

    def _check(self, waveforms: list[np.ndarray]) -> None:
        """Raise ValueError for the first waveform that has no frame or is none."""
        for i, waveform in enumerate(waveforms):
            if not isinstance(waveform, np.ndarray) or waveform.ndim != 1 or len(waveform) < self.encoder.shortest:
                shape = f"{type(waveform).__name__} {list(np.shape(waveform))}"
                raise ValueError(f"waveform {i}: {shape}: must be an array [samples], at least {self.encoder.shortest} at 16 kHz")
            if waveform.dtype not in (np.float32, np.float64, np.int16):
                raise ValueError(f"waveform {i}: {waveform.dtype}: must be float32, or int16 PCM")

    def _label(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        frames = self.encoder.encode([from_pcm(w) if w.dtype == np.int16 else w for w in waveforms])
        return list(torch.split(self._assign.labels(torch.cat(frames)), [len(part) for part in frames]))


def _has(device: str) -> bool:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # PyTorch's own words for it
        return False
    return True


def runs(labels: torch.Tensor, lengths: list[int]) -> list[Units]:
    """Frame labels of clips of the given lengths, one after the other → what `codec.deduplicate` makes of each clip.

    On the device of the labels, of which no more than units and durations leave it.
    """
    starts = torch.tensor([0, *lengths[:-1]]).cumsum(0).to(labels.device)
    begins = torch.ones_like(labels, dtype=torch.bool)
    begins[1:] = labels[1:] != labels[:-1]
    begins[starts] = True
    at = begins.nonzero().flatten()
    durations = torch.diff(at, append=at.new_tensor([len(labels)]))
    if durations.max() > np.iinfo(np.uint16).max:
        return [codec.deduplicate(clip) for clip in _split(labels, lengths)]
    cuts = torch.searchsorted(at, starts)[1:].tolist()
    units, counts = (np.split(values.to(torch.uint16).cpu().numpy(), cuts) for values in (labels[at], durations))
    return list(zip(units, counts, strict=True))


def _split(labels: torch.Tensor, lengths: list[int]) -> list[np.ndarray]:
    """Frame labels of each clip, int32, copied as uint16."""
    return np.split(labels.to(torch.uint16).cpu().numpy().astype(np.int32), np.cumsum(lengths)[:-1])


def _batches(order: list[int], lengths: list[int], budget: float) -> list[list[int]]:
    """Split an order by ascending length so that no padded batch exceeds the budget; a longer one stands alone."""
    batches: list[list[int]] = []
    for i in order:
        if batches and (len(batches[-1]) + 1) * lengths[i] <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
