"""Which language models can be trained, and what is known of each family. Nothing here imports torch.

A family is on the list when its loss and its gradients, packed, equal those of its documents alone under its own forward
pass (`tests/training/test_families.py`; the table is `docs/models.md`). All others are refused, as are settings that packed
training would drop in silence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Family:
    """What is known of a family."""

    models: str
    """Some that are of it."""
    feed_forward: Literal["gated", "ungated", "experts"]
    """Three matrices in a block, or two; memory and operations of experts are not counted (`spire_ray.training.budget`)."""
    bounds: bool = True
    """Whether its blocks pass the bounds of documents on; else it attends under a mask, on GPUs too."""
    tied: bool = False
    """Whether input and output matrix are one where `config.json` does not say."""
    stored_otherwise: bool = False
    """Whether experts are trained as one tensor and stored as many."""


FAMILIES = {
    "apertus": Family("Apertus", "ungated"),
    "arcee": Family("AFM-4.5B", "ungated"),
    "bitnet": Family("BitNet b1.58, its bfloat16 weights", "gated"),
    "cohere": Family("Command R, Aya 23", "gated", tied=True),
    "cohere2": Family("Command R7B, Command A", "gated", tied=True),
    "cwm": Family("Code World Model", "gated"),
    "ernie4_5": Family("ERNIE 4.5, dense", "gated", tied=True),
    "exaone4": Family("EXAONE 4", "gated"),
    "gemma": Family("Gemma", "gated", tied=True),
    "gemma2": Family("Gemma 2", "gated", tied=True),
    "gemma3_text": Family("Gemma 3, text alone", "gated", tied=True),
    "glm": Family("GLM-4 9B", "gated"),
    "glm4": Family("GLM-4 0414", "gated"),
    "granite": Family("Granite 3 and 4, dense", "gated"),
    "helium": Family("Helium", "gated"),
    "hunyuan_v1_dense": Family("Hunyuan, dense; Hunyuan-MT", "gated"),
    "llama": Family("Llama 1 to 3, TowerBase, EuroLLM, SmolLM 2, Salamandra", "gated"),
    "ministral": Family("Ministral 8B", "gated"),
    "ministral3": Family("Ministral 3", "gated"),
    "mistral": Family("Mistral 7B, Nemo, Small", "gated"),
    "nanochat": Family("nanochat", "ungated"),
    "nemotron": Family("Nemotron 4, Minitron", "ungated", bounds=False),
    "olmo": Family("OLMo", "gated"),
    "olmo2": Family("OLMo 2", "gated"),
    "olmo3": Family("OLMo 3", "gated"),
    "persimmon": Family("Persimmon", "ungated"),
    "phi3": Family("Phi-3, Phi-3.5 mini, Phi-4", "gated"),
    "qwen2": Family("Qwen 1.5 to 2.5", "gated"),
    "qwen3": Family("Qwen 3", "gated"),
    "seed_oss": Family("Seed-OSS", "gated"),
    "smollm3": Family("SmolLM 3", "gated", tied=True),
    "stablelm": Family("StableLM 2", "gated", bounds=False),
    "starcoder2": Family("StarCoder 2", "ungated", tied=True),
    "vaultgemma": Family("VaultGemma", "gated", tied=True),
    "afmoe": Family("Trinity", "experts", stored_otherwise=True),
    "cohere2_moe": Family("Command, experts", "experts", tied=True, stored_otherwise=True),
    "deepseek_v2": Family("DeepSeek V2", "experts", stored_otherwise=True),
    "deepseek_v3": Family("DeepSeek V3 and R1", "experts", stored_otherwise=True),
    "ernie4_5_moe": Family("ERNIE 4.5, experts", "experts", tied=True, stored_otherwise=True),
    "exaone_moe": Family("K-EXAONE", "experts", stored_otherwise=True),
    "flex_olmo": Family("FlexOlmo", "experts", stored_otherwise=True),
    "glm4_moe": Family("GLM-4.5", "experts", stored_otherwise=True),
    "gpt_oss": Family("gpt-oss, its bfloat16 weights", "experts"),
    "granitemoe": Family("Granite 3, experts", "experts", stored_otherwise=True),
    "granitemoeshared": Family("Granite 3, shared experts", "experts", stored_otherwise=True),
    "hunyuan_v1_moe": Family("Hunyuan-A13B", "experts", stored_otherwise=True),
    "minimax_m2": Family("MiniMax M2", "experts", stored_otherwise=True),
    "mixtral": Family("Mixtral", "experts", stored_otherwise=True),
    "olmoe": Family("OLMoE", "experts", stored_otherwise=True),
    "qwen2_moe": Family("Qwen 1.5 MoE, Qwen 2 57B", "experts", stored_otherwise=True),
    "qwen3_moe": Family("Qwen 3 30B and 235B", "experts", stored_otherwise=True),
    "solar_open": Family("Solar Open", "experts", stored_otherwise=True),
}

_DROPOUTS = ("attention_dropout", "attn_pdrop", "attn_dropout")
_LENGTH_DEPENDENT = ("dynamic", "longrope")
_LAYERS = {"full_attention", "sliding_attention"}


def takes_bounds(model_type: str) -> bool:
    """Whether a family attends by the bounds of documents."""
    return model_type not in FAMILIES or FAMILIES[model_type].bounds


def counted(model_type: str) -> bool:
    """Whether memory and operations of a family are counted."""
    return model_type in FAMILIES and FAMILIES[model_type].feed_forward != "experts"


def tied(model_type: str) -> bool:
    """Whether input and output matrix are one where `config.json` does not say."""
    return model_type in FAMILIES and FAMILIES[model_type].tied


def matrices(model_type: str) -> int:
    """How many a feed-forward layer has."""
    return 2 if model_type in FAMILIES and FAMILIES[model_type].feed_forward == "ungated" else 3


def require(config: dict[str, Any], sequence_length: int = 0) -> None:
    """Raise ValueError for a `config.json` whose model cannot be trained as it asks; 0: the length of a row is unknown."""
    name = config.get("model_type")
    if name not in FAMILIES:
        raise ValueError(
            f"model: model_type={name} is not among the {len(FAMILIES)} families of docs/models.md; choose one of them"
        )
    for reason in _reasons(config, sequence_length):
        raise ValueError(f"model: {name} with {reason}")


def require_export(config: dict[str, Any], trainable: str) -> None:
    """Raise ValueError for weights that could be trained but not be written as the model stores them."""
    name = config.get("model_type")
    if trainable == "full" and name in FAMILIES and FAMILIES[name].stored_otherwise:
        raise ValueError(
            f"training.trainable=full: {name} stores its experts in another form than they are trained in, which export "
            "does not write; use lora or units_only"
        )


def _reasons(config: dict[str, Any], sequence_length: int) -> Iterator[str]:
    """What packed training would drop in silence, and what to do."""
    for key in _DROPOUTS:
        if config.get(key):
            yield f"{key}={config[key]}: packed attention drops nothing out; set it to 0 in config.json"
    if config.get("output_router_logits"):
        yield "output_router_logits=true: the loss of the router is not computed; set it to false in config.json"
    if config.get("use_bidirectional_attention"):
        yield f"use_bidirectional_attention={config['use_bidirectional_attention']}: only causal models are trained"
    if config.get("quantization_config"):
        yield "quantization_config: quantized weights cannot be trained; save them as bfloat16 first"
    if unknown := sorted(set(config.get("layer_types") or ()) - _LAYERS):
        yield f"layer_types {', '.join(unknown)}: only {' and '.join(sorted(_LAYERS))} are known"
    for rope in _ropes(config.get("rope_parameters") or config.get("rope_scaling")):
        kind = rope.get("rope_type", rope.get("type"))
        trained = rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
        limit = trained or config.get("max_position_embeddings") or sequence_length
        if kind in _LENGTH_DEPENDENT and sequence_length > limit:
            yield (
                f"rope_type={kind} and rows of {sequence_length}: beyond {limit} tokens its angles depend on the longest "
                "document of a batch; pack shorter rows"
            )


def _ropes(found: Any) -> Iterator[dict[str, Any]]:
    """Rotary settings, of the model or of each kind of layer."""
    if isinstance(found, dict):
        if "rope_type" in found or "type" in found:
            yield found
        for value in found.values():
            yield from _ropes(value)
