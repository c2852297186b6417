"""Where there is speech in a waveform, and how a long recording is cut by that."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

from spire_ray.core.registry import Registry
from spire_ray.settings import SAMPLE_RATE

Stretch = tuple[float, float]
"""Begin and end in seconds."""


class Detector(Protocol):
    """Finds speech."""

    name: str
    """With its version, for the record."""

    def __call__(self, waveform: np.ndarray, threshold: float) -> list[Stretch]:
        """float32 [samples] at 16 kHz → stretches of speech, in order."""
        ...


DETECTORS: Registry[Callable[[], Detector]] = Registry("speech.detector")


class Silero:
    """Silero VAD (MIT), its ONNX model on the CPU: what its own `get_speech_timestamps` says."""

    def __init__(self) -> None:
        """Raises ValueError where the package is not installed."""
        if importlib.util.find_spec("silero_vad") is None or importlib.util.find_spec("onnxruntime") is None:
            raise ValueError("speech.detector=silero: pip install 'spire-ray[prepare]'")
        import silero_vad

        self._find: Any = silero_vad.get_speech_timestamps
        self._model: Any = silero_vad.load_silero_vad(onnx=True)
        self.name = f"silero-vad {version('silero-vad')}"

    def __call__(self, waveform: np.ndarray, threshold: float) -> list[Stretch]:
        """See `Detector`."""
        import torch

        found = self._find(torch.from_numpy(np.ascontiguousarray(waveform)), self._model, threshold=threshold)
        return [(one["start"] / SAMPLE_RATE, one["end"] / SAMPLE_RATE) for one in found]


DETECTORS.register("silero", Silero)


def pieces(speech: Sequence[Stretch], longest: float, pause: float) -> Iterator[Stretch]:
    """Stretches of speech → pieces of at most `longest` seconds, with no pause above `pause` in them.

    Neighbours are joined as long as they fit; a stretch that is longer by itself is cut into equal parts.
    """
    begin = end = -np.inf
    for start, stop in speech:
        if start - end <= pause and stop - begin <= longest:
            end = stop
            continue
        if np.isfinite(begin):
            yield from _equal(begin, end, longest)
        begin, end = start, stop
    if np.isfinite(begin):
        yield from _equal(begin, end, longest)


def _equal(begin: float, end: float, longest: float) -> Iterator[Stretch]:
    edges = np.linspace(begin, end, max(1, int(np.ceil((end - begin) / longest - 1e-9))) + 1)
    yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
