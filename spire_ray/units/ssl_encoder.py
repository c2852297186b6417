"""HuBERT and wav2vec 2.0 encoders from Hugging Face, cut at a layer.

For the pre-LN models (`do_stable_layer_norm`, the large ones) the output equals `hidden_states[layer]`: the final layer
norm is not applied, which is SPIRE's rule. For the post-LN models the norm before the first layer stays. Feature
extractors with layer norm get padded batches and the attention mask; those with group norm are never padded, because
padding reaches their statistics.
"""

from itertools import groupby

import numpy as np
import torch

from spire_ray.fingerprint import Identity, content_hash
from spire_ray.settings import SAMPLE_RATE, Encoder
from spire_ray.units.encoder import normalise

_FAMILIES = ("hubert", "wav2vec2")


class SelfSupervisedEncoder:
    """A Hugging Face encoder; waveforms → [T, hidden size]."""

    def __init__(self, settings: Encoder, device: str = "cpu") -> None:
        from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

        revision = settings.revision or None
        config = AutoConfig.from_pretrained(settings.name, revision=revision)
        if config.model_type not in _FAMILIES:
            raise ValueError(f"encoder.name={settings.name}: a {config.model_type} model; expected {' or '.join(_FAMILIES)}")
        if not 1 <= settings.layer <= config.num_hidden_layers:
            raise ValueError(f"encoder.layer={settings.layer}: {settings.name} has layers 1 to {config.num_hidden_layers}")
        if settings.final_layer_norm and not config.do_stable_layer_norm:
            raise ValueError("encoder.final_layer_norm=true: post-LN models have no norm after their last layer")
        extractor = AutoFeatureExtractor.from_pretrained(settings.name, revision=revision)
        model = AutoModel.from_pretrained(settings.name, revision=revision, dtype=torch.float32)
        model.encoder.layers = model.encoder.layers[: settings.layer]
        if config.do_stable_layer_norm and not settings.final_layer_norm:
            model.encoder.layer_norm = torch.nn.Identity()
        weights = _weight_hash(model)
        self._model = model.eval().to(device, getattr(torch, settings.dtype))
        self._device = device
        self._pads = config.feat_extract_norm == "layer"
        self._normalises = bool(extractor.do_normalize)
        self.shortest = _receptive_field(config.conv_kernel, config.conv_stride)
        self.identity = Identity(
            encoder=settings.name,
            weights=weights,
            layer=settings.layer,
            norm="final_layer_norm" if settings.final_layer_norm else "none",
            waveform="utterance" if self._normalises else "none",
            frame_rate=SAMPLE_RATE / float(np.prod(config.conv_stride)),
        )

    @torch.inference_mode()
    def encode(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        """See `SpeechEncoder.encode`. A short waveform in a batch changes no other one's frames."""
        if self._normalises:
            waveforms = [normalise(waveform) for waveform in waveforms]
        if self._pads:
            return self._forward(waveforms)
        frames: dict[int, torch.Tensor] = {}
        order = sorted(range(len(waveforms)), key=lambda i: len(waveforms[i]))
        for _, group in groupby(order, key=lambda i: len(waveforms[i])):
            same = list(group)
            frames.update(zip(same, self._forward([waveforms[i] for i in same]), strict=True))
        return [frames[i] for i in range(len(waveforms))]

    def _forward(self, waveforms: list[np.ndarray]) -> list[torch.Tensor]:
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        padded = torch.zeros(len(waveforms), int(lengths.max()))
        for row, waveform in zip(padded, waveforms, strict=True):
            row[: len(waveform)] = torch.from_numpy(np.ascontiguousarray(waveform, np.float32))
        mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long().to(self._device) if self._pads else None
        inputs = padded.to(self._device, self._model.dtype)
        hidden = self._model(inputs, attention_mask=mask).last_hidden_state.float()
        frames = self._model._get_feat_extract_output_lengths(lengths).tolist()
        return [states[:count] for states, count in zip(hidden, frames, strict=True)]


def _receptive_field(kernels: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Samples that an unpadded convolution stack needs for one frame."""
    field = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        field = (field - 1) * stride + kernel
    return field


def _weight_hash(model: torch.nn.Module) -> str:
    """Hash of names and float32 values, whatever dtype the model runs in."""
    tensors = sorted(model.state_dict().items())
    return content_hash(part for name, tensor in tensors for part in (name.encode(), tensor.numpy().tobytes()))
