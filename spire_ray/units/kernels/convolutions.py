"""The convolutions of HuBERT and wav2vec 2.0 as matrix products over frames in rows, without im2col.

A kernel of k taps that moves by s frames is cut into blocks of s taps: seen at the right offset, the rows [T, s · C] of a block
are the frames themselves. Legend: S samples, T frames, C channels, N frames of all clips of a pack, d width of the model.
"""

import math
from typing import Any

import torch
from torch.nn import functional

from spire_ray.units.kernels.products import Linear, RowWise

Norm = tuple[torch.Tensor, torch.Tensor, float]
"""Weight, bias and epsilon of a layer norm."""
_TAPS = 16
"""Of the positional convolution in one matrix product: copies of its input against partial sums of its output."""


def norm_of(module: torch.nn.LayerNorm) -> Norm:
    """The parameters of a layer norm as a compiler takes them: without their module, for each of which it would compile anew."""
    return module.weight.detach(), module.bias.detach(), module.eps


def rows_at(frames: torch.Tensor, first: int, count: int, width: int, step: int) -> torch.Tensor:
    """Rows of `width` consecutive frames every `step` frames, as a view [count, width · C] of contiguous frames [T, C]."""
    channels = frames.shape[1]
    offset = frames.storage_offset() + first * channels
    return frames.as_strided((count, width * channels), (step * channels, 1), offset)


class Convolution:
    """An unpadded convolution without groups, [T, C] → [(T - kernel) // stride + 1, C']."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, stride: int) -> None:
        self.kernel, self.stride = weight.shape[2], stride
        at_once = self.kernel if weight.shape[1] == 1 else stride  # the waveform's ten taps are too few to be cut
        blocks = [block.transpose(1, 2).flatten(1).contiguous() for block in torch.split(weight, at_once, dim=2)]
        self._first, self._width = Linear(blocks[0], bias), at_once
        self._rest = list(enumerate(blocks[1:], start=1))

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """See the class."""
        count, channels = (len(frames) - self.kernel) // self.stride + 1, frames.shape[1]
        made = self._first(rows_at(frames, 0, count, self._width, self.stride))
        for i, weight in self._rest:
            made.addmm_(rows_at(frames, i * self._width, count, weight.shape[1] // channels, self.stride), weight.T)
        return made


class FrontEnd:
    """The feature extractor: waveform [S] → [T, C], with layer norm in every layer or group norm in the first one."""

    def __init__(self, extractor: Any, norm_activation: RowWise, activation: RowWise) -> None:
        layers = list(extractor.conv_layers)
        self._convolutions = [Convolution(layer.conv.weight, layer.conv.bias, layer.conv.stride[0]) for layer in layers]
        norms = [getattr(layer, "layer_norm", None) for layer in layers]
        self._norms = [norm_of(norm) if isinstance(norm, torch.nn.LayerNorm) else None for norm in norms]
        self._group_norm = norms[0] if isinstance(norms[0], torch.nn.GroupNorm) else None
        self._norm_activation, self._activation = norm_activation, activation
        self._first = layers[0].conv.weight
        self.over_time = self._group_norm is not None
        """Whether a frame depends on its whole clip, by the statistics of the group norm."""
        self.hop = math.prod(convolution.stride for convolution in self._convolutions)
        self.window = 1
        """Samples that one frame hears."""
        for convolution in reversed(self._convolutions):
            self.window = (self.window - 1) * convolution.stride + convolution.kernel

    def frames(self, samples: int) -> int:
        """Frames of a clip."""
        return (samples - self.window) // self.hop + 1

    def pieces(self, waveform: torch.Tensor, longest: int) -> list[torch.Tensor]:
        """Features of a float32 waveform in consecutive pieces of at most `longest` frames."""
        first = self._convolutions[0] if self._group_norm is None else self._normed_over(waveform, self._group_norm)
        count = self.frames(len(waveform))
        cuts = [(start, min(start + longest, count)) for start in range(0, count, longest)]
        samples = waveform.to(self._first.dtype)[:, None]
        return [self._piece(first, samples[a * self.hop : (b - 1) * self.hop + self.window]) for a, b in cuts]

    def _piece(self, first: Convolution, samples: torch.Tensor) -> torch.Tensor:
        frames = samples
        for convolution, norm in zip([first, *self._convolutions[1:]], self._norms, strict=True):
            frames = convolution(frames)
            frames = self._activation(frames) if norm is None else self._norm_activation(frames, norm)
        return frames

    def _normed_over(self, waveform: torch.Tensor, norm: torch.nn.GroupNorm) -> Convolution:
        """The first convolution with the group norm of a clip in its weights.

        Each channel is a sum over few taps, so its mean and variance over the clip follow from those of the taps.
        """
        convolution = self._convolutions[0]
        count = (len(waveform) - convolution.kernel) // convolution.stride + 1
        taps = rows_at(waveform.double()[:, None], 0, count, convolution.kernel, convolution.stride)
        mean = taps.mean(0)
        covariance = (taps - mean).T @ (taps - mean) / len(taps)
        weight = self._first[:, 0].double()
        variance = ((weight @ covariance) * weight).sum(1)
        scale = norm.weight.double() / (variance + norm.eps).sqrt()
        bias = norm.bias.double() - scale * (weight @ mean)
        scaled = (scale[:, None] * weight)[:, None]
        return Convolution(scaled.to(self._first), bias.to(self._first), convolution.stride)


class PositionalConvolution:
    """The grouped convolution over many frames that tells positions, [N, d] → [N, d], bias added; clips do not mix.

    Sixteen taps make one matrix product, whose partial sums are added at their offsets: an eighth of the copies of im2col.
    """

    def __init__(self, convolution: torch.nn.Conv1d, groups_at_once: int) -> None:
        weight = convolution.weight.detach()  # weight norm is resolved here, once
        assert convolution.bias is not None
        self._bias, self._groups, self._groups_at_once = convolution.bias.detach(), convolution.groups, groups_at_once
        self._left = convolution.kernel_size[0] // 2
        self._blocks = -(-convolution.kernel_size[0] // _TAPS)
        padded = functional.pad(weight, (0, self._blocks * _TAPS - convolution.kernel_size[0]))
        # [d, C, blocks · taps] → [groups, taps · C in, blocks · C out]
        out, channels = weight.shape[0] // self._groups, weight.shape[1]
        split = padded.view(self._groups, out, channels, self._blocks, _TAPS)
        self._weight = split.permute(0, 4, 2, 3, 1).reshape(self._groups, _TAPS * channels, self._blocks * out).contiguous()

    def __call__(self, hidden: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """Frames of clips of the given lengths, one after the other."""
        count, width = hidden.shape
        clip = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        place = (torch.arange(count) + clip * self._left).to(hidden.device)  # zeros lie between the clips
        starts = count + (len(lengths) - 1) * self._left
        reach = self._blocks * _TAPS
        spread = hidden.new_zeros(starts + max(reach, self._left), width)
        spread[place + self._left] = hidden
        parts = [self._sums(spread, weight, first, starts)[:, place] for first, weight in self._weighted()]
        return torch.cat(parts).transpose(0, 1).reshape(count, width) + self._bias

    def _weighted(self) -> list[tuple[int, torch.Tensor]]:
        return [(i, self._weight[i : i + self._groups_at_once]) for i in range(0, self._groups, self._groups_at_once)]

    def _sums(self, spread: torch.Tensor, weight: torch.Tensor, first: int, starts: int) -> torch.Tensor:
        """Some groups, from the `first` one on, at every start: [groups, starts, C out]."""
        groups, width = len(weight), spread.shape[1]
        channels = width // self._groups
        windows = starts + (self._blocks - 1) * _TAPS
        shape, strides = (groups, windows, _TAPS, channels), (channels, width, width, 1)
        taps = spread.as_strided(shape, strides, first * channels).reshape(groups, windows, -1)
        partial = torch.bmm(taps, weight)  # [groups, windows, blocks · C out]
        row = partial.shape[2]
        shape = (groups, starts, self._blocks, row // self._blocks)
        strides = (windows * row, row, _TAPS * row + row // self._blocks, 1)
        return partial.as_strided(shape, strides).sum(2, dtype=torch.float32).to(partial.dtype)
