"""HuBERT and wav2vec 2.0 on packed clips: frames of all clips in one matrix, no padding anywhere.

Takes the weights of a Hugging Face model, whose own forward pass is the oracle (tests/parity). Statistics of the norms are
float32 in any dtype. Legend: N frames of all clips of a pack, d width of the model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from spire_ray.core import processor
from spire_ray.units.encoders.encoder import NORMALIZE_EPS, normalize
from spire_ray.units.kernels import attention
from spire_ray.units.kernels.convolutions import FrontEnd, Norm, PositionalConvolution, norm_of
from spire_ray.units.kernels.products import Linear, RowWise

_PACK, _PIECE = 1500, 200
"""Frames at once on a CPU, in the transformer and in the front end: what its caches hold."""


def can_pack(config: Any) -> bool:
    """Whether a configuration has only what is built here: no attention adapters, no batch norm before the positions."""
    return getattr(config, "adapter_attn_dim", None) is None and not getattr(config, "conv_pos_batch_norm", False)


@dataclass(frozen=True)
class _Layer:
    """Weights of one transformer block."""

    qkv: Linear
    out: Linear
    up: Linear
    down: Linear
    norms: tuple[Norm, Norm]
    """After (post-LN) or before (pre-LN) attention and feed-forward."""

    @staticmethod
    def of(layer: Any, activation: RowWise) -> "_Layer":
        """Join the three projections of the attention into one; `activation` is that of the feed-forward."""
        attend, feed = layer.attention, layer.feed_forward
        projections = (attend.q_proj, attend.k_proj, attend.v_proj)
        return _Layer(
            qkv=Linear(torch.cat([p.weight for p in projections]), torch.cat([p.bias for p in projections])),
            out=Linear(attend.out_proj.weight, attend.out_proj.bias),
            up=Linear(feed.intermediate_dense.weight, feed.intermediate_dense.bias, activation),
            down=Linear(feed.output_dense.weight, feed.output_dense.bias),
            norms=(norm_of(layer.layer_norm), norm_of(layer.final_layer_norm)),
        )


class PackedModel:
    """A model of Hugging Face, cut at its layer and on its device, as a function of waveforms.

    `at_once`: all clips in each product, as a GPU wants it and gets it by default, or as many as fit the caches of a CPU.
    """

    @torch.inference_mode()
    def __init__(self, model: Any, normalizes: bool, at_once: bool | None = None) -> None:
        from transformers.activations import ACT2FN

        config, encoder = model.config, model.encoder
        self._device, self._normalizes = model.device, normalizes
        self._on_gpu = self._device.type == "cuda"
        self._at_once = self._on_gpu if at_once is None else at_once
        self._fused: Callable[..., Any] = _compiled if self._on_gpu else lambda function: function
        activation = ACT2FN[config.feat_extract_activation]
        norm_activation = self._fused(lambda x, norm: activation(_layer_norm(x, norm)))
        self._front = FrontEnd(model.feature_extractor, norm_activation, self._fused(activation))
        self._project = model.feature_projection
        groups = config.num_conv_pos_embedding_groups
        self._positions = PositionalConvolution(encoder.pos_conv_embed.conv, groups if self._at_once else 1)
        self._add_positions = self._fused(lambda hidden, positions: hidden + activation(positions))
        self._add_norm = self._fused(_add_norm)
        hidden_activation = self._fused(functional.gelu if config.hidden_act == "gelu" else ACT2FN[config.hidden_act])
        self._layers = [_Layer.of(layer, hidden_activation) for layer in encoder.layers]
        self._norm, self._pre_norm, self._heads = encoder.layer_norm, config.do_stable_layer_norm, config.num_attention_heads

    @torch.inference_mode()
    def __call__(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        """Waveforms [S], each at least one window → frames float32 [T, d] on the device, for each in order."""
        frames: list[torch.Tensor] = []
        for pack in self._packs(waveforms):
            lengths = [self._front.frames(len(waveform)) for waveform in pack]
            frames += torch.split(self._encode(pack, lengths).float(), lengths)
        return frames

    def _packs(self, waveforms: list[np.ndarray]) -> list[list[np.ndarray]]:
        """Clips that are encoded together."""
        if self._at_once:
            return [waveforms]
        packs: list[list[np.ndarray]] = []
        room = 0
        for waveform in waveforms:
            count = self._front.frames(len(waveform))
            if not packs or count > room:
                packs.append([])
                room = _PACK
            packs[-1].append(waveform)
            room -= count
        return packs

    def _encode(self, waveforms: list[np.ndarray], lengths: list[int]) -> torch.Tensor:
        hidden = self._project(self._features(waveforms, lengths))
        if isinstance(hidden, tuple):  # wav2vec 2.0 gives the features as well
            hidden = hidden[0]
        hidden = self._add_positions(hidden, self._positions(hidden, lengths))
        attend = attention.packed_attention(lengths, self._heads, hidden.device, hidden.dtype)
        return self._pre(hidden, attend) if self._pre_norm else self._post(hidden, attend)

    def _features(self, waveforms: list[np.ndarray], lengths: list[int]) -> torch.Tensor:
        """[N, C] of the front end, clip by clip in pieces, or at once where no frame depends on its whole clip."""
        if not self._at_once:
            clips = [torch.from_numpy(normalize(w) if self._normalizes else w.astype(np.float32)) for w in waveforms]
            return torch.cat([piece for clip in clips for piece in self._front.pieces(clip, _PIECE)])
        joined, starts = self._joined(waveforms)
        if self._front.over_time:
            clips = [joined[start : start + len(w)] for start, w in zip(starts, waveforms, strict=True)]
            return torch.cat([self._front.pieces(clip, n)[0] for clip, n in zip(clips, lengths, strict=True)])
        [frames] = self._front.pieces(joined, len(joined))
        skipped = torch.tensor(starts) // self._front.hop - torch.tensor([0, *lengths[:-1]]).cumsum(0)
        kept = torch.arange(sum(lengths)) + torch.repeat_interleave(skipped, torch.tensor(lengths))
        return frames[kept.to(self._device, non_blocking=True)]

    def _joined(self, waveforms: list[np.ndarray]) -> tuple[torch.Tensor, list[int]]:
        """One waveform on the device, normalized there, and where each clip starts: at a sample that starts a frame."""
        hop = self._front.hop
        rows = torch.tensor([-(-len(waveform) // hop) for waveform in waveforms])
        starts: list[int] = ((rows.cumsum(0) - rows) * hop).tolist()
        host = torch.zeros(int(rows.sum()) * hop, pin_memory=self._on_gpu)
        for start, waveform in zip(starts, waveforms, strict=True):
            host[start : start + len(waveform)] = torch.from_numpy(waveform)
        joined = host.to(self._device, non_blocking=True)
        if not self._normalizes:
            return joined, starts
        clip = torch.repeat_interleave(torch.arange(len(rows)), rows).to(self._device, non_blocking=True)
        lengths = torch.tensor([len(w) for w in waveforms], dtype=torch.float64).to(self._device, non_blocking=True)
        parts = joined.view(-1, hop).double()
        sums = torch.stack([parts.sum(1), parts.square().sum(1)], 1)
        mean, square = (sums.new_zeros(len(rows), 2).index_add_(0, clip, sums) / lengths[:, None]).unbind(1)
        scale = (square - mean.square() + NORMALIZE_EPS).rsqrt()
        return ((parts - mean[clip, None]) * scale[clip, None]).float().view(-1), starts

    def _pre(self, hidden: torch.Tensor, attend: attention.Attend) -> torch.Tensor:
        """Blocks that norm what they read; the residual stream itself is never normed."""
        change: torch.Tensor | None = None
        for layer in self._layers:
            hidden, normed = self._add_norm(hidden, change, layer.norms[0])
            hidden, normed = self._add_norm(hidden, self._attended(layer, normed, attend), layer.norms[1])
            change = self._fed_forward(layer, normed)
        last: torch.Tensor = self._norm(hidden if change is None else hidden + change)
        return last

    def _post(self, hidden: torch.Tensor, attend: attention.Attend) -> torch.Tensor:
        """Blocks that norm what they write."""
        hidden = self._norm(hidden)
        for layer in self._layers:
            _, hidden = self._add_norm(hidden, self._attended(layer, hidden, attend), layer.norms[0])
            _, hidden = self._add_norm(hidden, self._fed_forward(layer, hidden), layer.norms[1])
        return hidden

    def _attended(self, layer: _Layer, normed: torch.Tensor, attend: attention.Attend) -> torch.Tensor:
        return layer.out(attend(layer.qkv(normed)))

    def _fed_forward(self, layer: _Layer, normed: torch.Tensor) -> torch.Tensor:
        return layer.down(layer.up(normed))


def _compiled(function: Callable[..., Any]) -> Any:
    """Its kernels in one; as it is on a node without a C compiler, with which the launcher of a kernel is built."""
    return torch.compile(function, dynamic=True) if processor.has_compiler() else function


def _layer_norm(x: torch.Tensor, norm: Norm) -> torch.Tensor:
    weight, bias, eps = norm
    return functional.layer_norm(x, weight.shape, weight, bias, eps)


def _add_norm(hidden: torch.Tensor, change: torch.Tensor | None, norm: Norm) -> tuple[torch.Tensor, torch.Tensor]:
    """The residual sum and its norm."""
    hidden = hidden if change is None else hidden + change
    return hidden, _layer_norm(hidden, norm)
