"""Tiny random models of every family in transformers, each asking for what its family can ask for."""

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

VOCABULARY = 96
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "initializer_range": 0.3, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "sliding_window": 4, "query_pre_attn_scalar": 8,
    "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24, "num_experts": 4, "num_local_experts": 4,
    "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12,
}  # fmt: skip
WINDOWS = {"use_sliding_window": True, "max_window_layers": 2}
LATENT = {"num_key_value_heads": 4}
ASKING = {
    "cohere": {"logit_scale": 0.3, "use_qk_norm": True},
    "cohere2": {"logit_scale": 0.3},
    "cohere2_moe": {"logit_scale": 0.3},
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "gemma2": {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.5},
    "gemma3_text": {"final_logit_softcapping": 2.0, "sliding_window_pattern": 2},
    "granite": {"logits_scaling": 4.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.6},
    "granitemoe": {"logits_scaling": 4.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5},
    "granitemoeshared": {"logits_scaling": 4.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5},
    "llama": {"attention_bias": True, "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
    "nanochat": {"final_logit_softcapping": 2.0},
    "olmo": {"clip_qkv": 0.8},
    "qwen2": WINDOWS,
    "qwen2_moe": WINDOWS,
    "qwen3": WINDOWS,
    "qwen3_moe": WINDOWS,
    "seed_oss": {"attention_dropout": 0.0, "residual_dropout": 0.0},
    "stablelm": {"use_qkv_bias": True, "qk_layernorm": True},
    "starcoder2": {"residual_dropout": 0.0, "embedding_dropout": 0.0},
    "vaultgemma": {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.5},
}


def config(model_type, **changes):
    """A tiny configuration of a family."""
    cls = CONFIG_MAPPING[model_type]
    known = set(cls().to_dict()) | set(cls.attribute_map)
    given = {name: value for name, value in SHAPE.items() if name in known}
    return cls(**{**given, **({"layer_types": None} if "layer_types" in known else {}), **ASKING.get(model_type, {}), **changes})


def model(model_type, **changes):
    """A model in training mode that attends as its own code does (`eager`)."""
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config(model_type, **changes), attn_implementation="eager").float()
    with torch.no_grad():  # norms begin at 0 or 1 and biases at 0, which would hide that one is left out
        for parameter in made.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return made.train()
