"""A waveform, its spectrogram and its units on one axis of time, as pieces of HTML."""

import base64
import io
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

from spire_ray.audio.pcm import from_pcm
from spire_ray.settings import SAMPLE_RATE

_COLUMNS = 800
"""Of a drawing; SVG scales it to the page."""
_WINDOW, _HOP, _BANDS = 400, 160, 160
"""Samples, and rows of the image: 50 Hz each."""
_RANGE_DB = 70.0
"""Below the loudest, which the darkest color stands for."""
_GOLDEN = 137.508
"""Degrees between the hues of neighboring units: those that follow each other in a codebook look different."""


def waveform(samples: np.ndarray) -> str:
    """int16 [n] → SVG: for every column the least and the greatest value."""
    values = from_pcm(samples)
    edges = np.linspace(0, len(values), min(_COLUMNS, len(values)) + 1).astype(int)
    low, high = (ufunc.reduceat(values, edges[:-1]) for ufunc in (np.minimum, np.maximum))
    scale = _COLUMNS / len(low)
    above = " ".join(f"{x * scale:.1f},{50 - 48 * y:.1f}" for x, y in enumerate(high))
    below = " ".join(f"{x * scale:.1f},{50.4 - 48 * y:.1f}" for x, y in reversed(list(enumerate(low))))
    return (
        f'<svg class="wave" viewBox="0 0 {_COLUMNS} 100" preserveAspectRatio="none" role="img" aria-label="waveform">'
        f'<line x1="0" x2="{_COLUMNS}" y1="50" y2="50"/><polygon points="{above} {below}"/></svg>'
    )


def spectrogram(samples: np.ndarray) -> str:
    """int16 [n] → an image, 0 to 8 kHz, as `<img>`."""
    from matplotlib import image

    values = np.pad(from_pcm(samples), (0, max(0, _WINDOW - len(samples))))
    hop = max(_HOP, len(values) // (2 * _COLUMNS))
    frames = np.lib.stride_tricks.sliding_window_view(values, _WINDOW)[::hop] * np.hanning(_WINDOW)
    power = np.square(np.abs(np.fft.rfft(frames, 2 * _BANDS)))[:, :_BANDS]
    level = 10 * np.log10(power + 1e-10)
    shown = np.clip((level - level.max()) / _RANGE_DB + 1, 0, 1).T[::-1]
    buffer = io.BytesIO()
    image.imsave(buffer, shown, cmap="magma", vmin=0, vmax=1, format="png")
    return f'<img class="spectrogram" alt="spectrogram, 0 to 8 kHz" src="{data("image/png", buffer.getvalue())}">'


def ribbon(units: Sequence[int], durations: Sequence[int], seconds: float, frame_rate: float) -> str:
    """Units, each as long as it lasts and in a color of its own, as SVG; its number is told where the pointer rests."""
    return (
        f'<svg class="ribbon" viewBox="0 0 {seconds * frame_rate:.2f} 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{len(units)} units">{"".join(_stripes(units, durations))}</svg>'
    )


def _stripes(units: Sequence[int], durations: Sequence[int]) -> Iterator[str]:
    starts = [0, *accumulate(durations)]
    for unit, start, length in zip(units, starts, durations, strict=False):
        color = f"hsl({unit * _GOLDEN % 360:.0f} {45 + unit * 7 % 30}% {42 + unit * 13 % 26}%)"
        yield f'<rect x="{start}" width="{length}" height="10" fill="{color}"><title>unit {unit}, {length} frames</title></rect>'


def axis(seconds: float) -> str:
    """Marks of time, some five to ten of them."""
    step = next((step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if seconds / step <= 10), 60)
    marks = np.arange(0, seconds, step)
    told = "".join(f'<span style="left:{100 * mark / seconds:.2f}%">{mark:g}</span>' for mark in marks)
    return f'<div class="axis">{told}</div>'


def seconds_of(samples: np.ndarray) -> float:
    """How long a waveform is."""
    return len(samples) / SAMPLE_RATE


def data(kind: str, content: bytes) -> str:
    """Bytes as a URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
