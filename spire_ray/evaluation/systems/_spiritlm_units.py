"""Speech as units of SpiRit-LM, 25 a second: its HuBERT up to a layer, and the nets that name a unit for each frame.

Read from the two files in which Meta gives them away: HuBERT in the names of fairseq, with its configuration beside the weights.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from spire_ray.core import copies, storage
from spire_ray.settings import SAMPLE_RATE

ENCODER, QUANTIZER = "hubert_25hz/mhubert_base_25hz.pt", "hubert_25hz/L11_quantizer_500.pt"
_LAYER = 11
_PIECE, _SHORTEST = 100 * SAMPLE_RATE, 1280
"""Samples that are heard together at most, and at least: what is left at the end and shorter is dropped."""
_NAMES = (
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"feature_extractor\.conv_layers\.(\d+)\.2\.(1\.)?", r"feature_extractor.conv_layers.\1.layer_norm."),
    (r"layer_norm\.", "feature_projection.layer_norm."),
    (r"post_extract_proj\.", "feature_projection.projection."),
    (r"encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.conv."),
    (r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"encoder.layers.\1.layer_norm."),
    (r"encoder\.layers\.(\d+)\.self_attn\.", r"encoder.layers.\1.attention."),
    (r"encoder\.layers\.(\d+)\.fc1\.", r"encoder.layers.\1.feed_forward.intermediate_dense."),
    (r"encoder\.layers\.(\d+)\.fc2\.", r"encoder.layers.\1.feed_forward.output_dense."),
)
"""How the name of a weight begins in fairseq → in transformers; others are called the same."""


class SpeechUnits:
    """Waveforms → units, one clip at a time: padding would reach the statistics of the group norm."""

    def __init__(self, folder: str, device: str) -> None:
        self._device = device
        said = _read(folder, ENCODER)
        self._hubert = _hubert(said["model_cfg"], said["model_weight"]).eval().to(device)
        self._normalizes = bool(said["task_cfg"].get("normalize"))
        said = _read(folder, QUANTIZER)
        self._nets = _nets(said["model_weight"]).to(device)
        self._blank = int(said["model_cfg"]["vocab_size"])

    @torch.inference_mode()
    def __call__(self, waveform: np.ndarray) -> list[int]:
        """float32 [samples] at 16 kHz → units, equal neighbours once. Raises ValueError for speech that is too short."""
        samples = torch.from_numpy(np.ascontiguousarray(waveform, np.float32)).to(self._device)
        pieces = [piece for piece in torch.split(samples, _PIECE) if len(piece) >= _SHORTEST]
        if not pieces:
            raise ValueError(f"speech too short: {len(samples)} samples of {_SHORTEST}")
        return [unit for unit, _ in itertools.groupby(itertools.chain.from_iterable(map(self._piece, pieces)))]

    def _piece(self, samples: torch.Tensor) -> list[int]:
        if self._normalizes:
            samples = torch.nn.functional.layer_norm(samples, samples.shape)
        found = self._nets(self._hubert(samples[None]).last_hidden_state[0]).argmax(-1)
        while (blank := found == self._blank).any() and not blank.all():  # as the unit before it, the first as the last
            found = torch.where(blank, found.roll(1), found)
        units: list[int] = found.tolist()
        return units


def missing(folder: str) -> list[str]:
    """Which of the two files are not in a folder."""
    return [name for name in (ENCODER, QUANTIZER) if not storage.exists(storage.join(folder, name))]


def _read(folder: str, name: str) -> dict[str, Any]:
    """Raises ValueError for a file that is another one."""
    path = storage.join(copies.localize(folder), name)
    try:
        said = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path}: no checkpoint that can be read: {str(error).splitlines()[0]}") from None
    wanted = {"model_cfg", "model_weight", *(["task_cfg"] if name == ENCODER else [])}
    if not isinstance(said, dict) or not wanted <= set(said):
        raise ValueError(f"{path}: holds no {', '.join(sorted(wanted))}, as the file has that Meta gives away")
    return said


def _hubert(said: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> Any:
    """HuBERT of transformers up to the layer. Raises ValueError for one that transformers does not have."""
    from transformers import HubertConfig, HubertModel

    if said.get("layer_type", "transformer") != "transformer" or said.get("conv_pos_batch_norm"):
        raise ValueError(f"{ENCODER}: not built as HuBERT is: conformer layers or batch norm")
    named = {"hidden_size": "encoder_embed_dim", "intermediate_size": "encoder_ffn_embed_dim", "conv_bias": "conv_bias",
             "hidden_act": "activation_fn", "num_attention_heads": "encoder_attention_heads",
             "num_conv_pos_embeddings": "conv_pos",
             "num_conv_pos_embedding_groups": "conv_pos_groups", "do_stable_layer_norm": "layer_norm_first"}  # fmt: skip
    given = {ours: said[theirs] for ours, theirs in named.items() if theirs in said}
    if "conv_feature_layers" in said:
        layers = list(_convolutions(said["conv_feature_layers"]))
        given |= {f"conv_{part}": [layer[n] for layer in layers] for n, part in enumerate(("dim", "kernel", "stride"))}
        given["num_feat_extract_layers"] = len(layers)
    norm = "layer" if said.get("extractor_mode") == "layer_norm" else "group"
    model = HubertModel(HubertConfig(num_hidden_layers=_LAYER, feat_extract_norm=norm, **given))
    lacking = model.load_state_dict({_name(name): tensor for name, tensor in weights.items()}, strict=False).missing_keys
    if lacking := [name for name in lacking if name != "masked_spec_embed"]:
        raise ValueError(f"{ENCODER}: holds no weights for {', '.join(lacking[:3])}")
    if given.get("do_stable_layer_norm"):
        model.encoder.layer_norm = torch.nn.Identity()  # of the last layer alone, which is not heard to
    return model


def _name(name: str) -> str:
    return next((re.sub(theirs, ours, name) for theirs, ours in _NAMES if re.match(theirs, name)), name)


def _convolutions(said: str) -> Iterator[tuple[int, int, int]]:
    """(width, kernel, stride) of each: `[(512,10,5)] + [(512,3,2)] * 4` as fairseq writes them."""
    for layers, times in re.findall(r"\[([^\]]*)\](?:\s*\*\s*(\d+))?", said):
        found = [(int(a), int(b), int(c)) for a, b, c in re.findall(r"\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)", layers)]
        yield from found * int(times or 1)


def _nets(weights: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """Linear maps with leaky ReLUs between them, of the shapes that the weights have."""
    numbers = sorted({int(name.partition(".")[0]) for name in weights})
    nets = torch.nn.Sequential()
    for number in range(numbers[-1] + 1):
        shape = weights[f"{number}.weight"].shape if number in numbers else ()
        nets.append(torch.nn.Linear(shape[1], shape[0]) if shape else torch.nn.LeakyReLU())
    nets.load_state_dict(dict(weights))
    return nets.eval()
