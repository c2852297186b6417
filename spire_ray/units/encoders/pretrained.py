"""Pre-trained speech encoders from Hugging Face, cut at a layer: HuBERT, wav2vec 2.0, w2v-BERT 2.0 and Whisper's encoder.

The output equals `hidden_states[layer]` of the whole model. A norm that follows the last layer is not applied, which is
SPIRE's rule, unless the settings ask for it.
"""

import math
import os
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from spire_ray.core import copies
from spire_ray.settings import SAMPLE_RATE, EncoderSettings
from spire_ray.units.encoders import ENCODERS, Weights, options
from spire_ray.units.encoders.encoder import SpeechEncoder, normalize
from spire_ray.units.encoders.packed import PackedModel, can_pack
from spire_ray.units.fingerprint import Identity, content_hash


def load(settings: EncoderSettings, device: str, plain: bool = False) -> SpeechEncoder:
    """The encoder of a Hugging Face id or folder; `plain` for its own forward pass where there is a faster one.

    Raises ValueError for a folder that is not there, a model of another kind, or a layer it does not have.
    """
    from transformers import AutoConfig

    folder = copies.localize(settings.name)
    if not os.path.isdir(folder):
        if folder.startswith(("/", ".")) or folder.count("/") > 1:
            raise ValueError(f"encoder.name={settings.name}: no such folder, and no id of the hub")
        folder, _, revision = folder.partition("@")
        settings = replace(settings, revision=revision or settings.revision)
    config = AutoConfig.from_pretrained(folder, revision=settings.revision or None)
    weights = Weights(folder, config)
    if plain and config.model_type in _WAVEFORM:
        return _Waveform(settings, weights, device)
    if config.model_type not in ENCODERS:
        raise ValueError(f"encoder.name={settings.name}: a {config.model_type} model; known are {', '.join(ENCODERS)}")
    return ENCODERS[config.model_type](settings, weights, device)


class _Pretrained(ABC):
    """What the kinds share: loading, the cut and the identity."""

    shortest: int
    _waveform = "none"
    _cutting = "none"

    def __init__(self, settings: EncoderSettings, weights: Weights | None, device: str) -> None:
        from transformers import AutoFeatureExtractor, AutoModel

        assert weights is not None
        options(settings)
        folder, config = weights.folder, weights.config
        if not 1 <= settings.layer <= config.num_hidden_layers:
            raise ValueError(f"encoder.layer={settings.layer}: {settings.name} has layers 1 to {config.num_hidden_layers}")
        revision = settings.revision or None
        self._config, self._device = config, device
        self._extractor: Any = AutoFeatureExtractor.from_pretrained(folder, revision=revision)
        model: Any = AutoModel.from_pretrained(folder, revision=revision, dtype=torch.float32)
        model = self._cut(model, settings)
        hashed = _weight_hash(model)
        if device != "cpu":  # by default cuDNN rounds what float32 convolutions read to ten bits, which moves labels
            torch.backends.cudnn.allow_tf32 = False
        self._model: Any = model.eval().to(device, getattr(torch, settings.dtype))
        self._read()
        self.identity = Identity(
            encoder=settings.name,
            weights=hashed,
            layer=settings.layer,
            norm="final_layer_norm" if settings.final_layer_norm else "none",
            waveform=self._waveform,
            frame_rate=self._frame_rate(),
            cutting=self._cutting,
        )

    @abstractmethod
    def _cut(self, model: Any, settings: EncoderSettings) -> Any:
        """The part of the model up to the layer, whose last hidden state is the frames."""

    @abstractmethod
    def _read(self) -> None:
        """Take what `encode` needs from configuration and feature extractor."""

    @abstractmethod
    def _frame_rate(self) -> float:
        """Frames per second."""

    @abstractmethod
    def encode(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        """See `SpeechEncoder.encode`."""

    def _run(self, inputs: torch.Tensor, mask: torch.Tensor | None, counts: list[int]) -> list[torch.Tensor]:
        inputs = inputs.to(self._device, self._model.dtype)
        mask = None if mask is None else mask.to(self._device)
        hidden = self._model(inputs, attention_mask=mask).last_hidden_state.float()
        return [states[:count] for states, count in zip(hidden, counts, strict=True)]


class _Waveform(_Pretrained):
    """HuBERT and wav2vec 2.0, which read the waveform.

    Feature extractors with layer norm (the large, pre-LN models) get padded batches and the attention mask; those with
    group norm are never padded, because padding reaches their statistics.
    """

    def _cut(self, model: Any, settings: EncoderSettings) -> Any:
        pre_norm = self._config.do_stable_layer_norm
        if settings.final_layer_norm and not pre_norm:
            raise ValueError("encoder.final_layer_norm=true: post-LN models have no norm after their last layer")
        model.encoder.layers = model.encoder.layers[: settings.layer]
        if pre_norm and not settings.final_layer_norm:
            model.encoder.layer_norm = torch.nn.Identity()
        return model

    def _read(self) -> None:
        self._pads = self._config.feat_extract_norm == "layer"
        self._normalizes = bool(self._extractor.do_normalize)
        self._waveform = "utterance" if self._normalizes else "none"
        self.shortest = 1
        for kernel, stride in zip(reversed(self._config.conv_kernel), reversed(self._config.conv_stride), strict=True):
            self.shortest = (self.shortest - 1) * stride + kernel  # unpadded convolutions

    def _frame_rate(self) -> float:
        return SAMPLE_RATE / float(math.prod(self._config.conv_stride))

    @torch.inference_mode()
    def encode(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        """See `SpeechEncoder.encode`. A short waveform in a batch changes no other one's frames."""
        if self._normalizes:
            waveforms = [normalize(waveform) for waveform in waveforms]
        if self._pads:
            return self._forward(waveforms)
        frames: dict[int, torch.Tensor] = {}
        for length in sorted({len(waveform) for waveform in waveforms}):
            same = [i for i, waveform in enumerate(waveforms) if len(waveform) == length]
            frames.update(zip(same, self._forward([waveforms[i] for i in same]), strict=True))
        return [frames[i] for i in range(len(waveforms))]

    def _forward(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        padded = torch.zeros(len(waveforms), int(lengths.max()))
        for row, waveform in zip(padded, waveforms, strict=True):
            row[: len(waveform)] = torch.from_numpy(np.ascontiguousarray(waveform, np.float32))
        mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long() if self._pads else None
        return self._run(padded, mask, self._model._get_feat_extract_output_lengths(lengths).tolist())


class _PackedWaveform(_Waveform):
    """The same frames without padding, and much faster."""

    def _read(self) -> None:
        super()._read()
        self._packed = PackedModel(self._model, self._normalizes)
        self._model = None

    def encode(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        """See `SpeechEncoder.encode`."""
        return self._packed(waveforms)


class _FilterBank(_Pretrained):
    """w2v-BERT 2.0, which reads pairs of mel filter-bank frames, normalized over the utterance, under a mask."""

    def _cut(self, model: Any, settings: EncoderSettings) -> Any:
        if settings.final_layer_norm:
            raise ValueError("encoder.final_layer_norm=true: w2v-BERT 2.0 has no norm after its last layer")
        model.encoder.layers = model.encoder.layers[: settings.layer]
        model.intermediate_ffn = model.adapter = None  # they follow the last layer
        return model

    def _read(self) -> None:
        self.shortest = _FBANK_WINDOW + (self._extractor.stride - 1) * _FBANK_HOP

    def _frame_rate(self) -> float:
        return SAMPLE_RATE / float(_FBANK_HOP * self._extractor.stride)

    @torch.inference_mode()
    def encode(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        """See `SpeechEncoder.encode`."""
        made = self._extractor([np.asarray(w, np.float32) for w in waveforms], sampling_rate=SAMPLE_RATE, return_tensors="pt")
        return self._run(made["input_features"], made["attention_mask"], made["attention_mask"].sum(1).tolist())


class _Whisper(_Pretrained):
    """The encoder of Whisper, which reads windows of 30 s, filled up with silence.

    Longer audio is cut into windows that know nothing of each other; frames of the filling are dropped.
    """

    def _cut(self, model: Any, settings: EncoderSettings) -> Any:
        encoder = model.get_encoder()
        encoder.layers = encoder.layers[: settings.layer]
        if not settings.final_layer_norm:
            encoder.layer_norm = torch.nn.Identity()
        return encoder

    def _read(self) -> None:
        self._window = self._extractor.n_samples
        self._hop = self._extractor.hop_length * 2  # the second convolution has stride 2
        self.shortest = self._extractor.hop_length
        self._cutting = f"{self._extractor.chunk_length}s"

    def _frame_rate(self) -> float:
        return SAMPLE_RATE / float(self._hop)

    @torch.inference_mode()
    def encode(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        """See `SpeechEncoder.encode`."""
        pieces = [np.split(w, range(self._window, len(w), self._window)) for w in waveforms]
        windows = [np.asarray(window, np.float32) for piece in pieces for window in piece]
        made = self._extractor(windows, sampling_rate=SAMPLE_RATE, return_tensors="pt", device=self._device)
        counts = [-(-(len(window) // self._extractor.hop_length) // 2) for window in windows]
        frames = iter(self._run(made["input_features"], None, counts))
        return [torch.cat([next(frames) for _ in piece]) for piece in pieces]


_FBANK_WINDOW, _FBANK_HOP = 400, 160
"""Samples, of the Kaldi filter bank in w2v-BERT's feature extractor."""


def _weight_hash(model: torch.nn.Module) -> str:
    """Hash of names and float32 values, whatever dtype the model runs in."""
    tensors = sorted(model.state_dict().items())
    return content_hash(part for name, tensor in tensors for part in (name.encode(), tensor.numpy().tobytes()))


def _of_waveforms(settings: EncoderSettings, weights: Weights | None, device: str) -> SpeechEncoder:
    assert weights is not None
    return (_PackedWaveform if can_pack(weights.config) else _Waveform)(settings, weights, device)


_WAVEFORM = ("hubert", "wav2vec2")
for _kind in _WAVEFORM:
    ENCODERS.register(_kind, _of_waveforms)
ENCODERS.register("wav2vec2-bert", _FilterBank)
ENCODERS.register("whisper", _Whisper)
