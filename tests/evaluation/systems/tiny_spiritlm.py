"""SpiRit-LM with random weights, in Meta's files: Llama, HuBERT in the names of fairseq, and the nets behind it."""

import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import sentencepiece
import torch
from transformers import HubertConfig, HubertModel, LlamaConfig, LlamaForCausalLM

from tests.evaluation.systems.tiny_systems import WORDS, sharpened

UNITS = 6
_FAIRSEQ = (
    (r"conv_layers\.(\d+)\.conv\.", r"conv_layers.\1.0."), (r"conv_layers\.(\d+)\.layer_norm\.", r"conv_layers.\1.2."),
    (r"layers\.(\d+)\.layer_norm\.", r"layers.\1.self_attn_layer_norm."), (r"feature_projection\.layer_norm\.", "layer_norm."),
    (r"feature_projection\.projection\.", "post_extract_proj."), (r"pos_conv_embed\.conv\.", "pos_conv.0."),
    (r"\.attention\.", ".self_attn."), (r"feed_forward\.intermediate_dense\.", "fc1."), (r"feed_forward\.output_dense\.", "fc2."),
    (r"parametrizations\.weight\.original0", "weight_g"), (r"parametrizations\.weight\.original1", "weight_v"),
)  # fmt: skip


def fairseq(name):
    """What fairseq calls a weight of transformers' HuBERT."""
    for ours, theirs in _FAIRSEQ:
        name = re.sub(ours, theirs, name)
    return name


def made(folder, *, expressive=False):
    """Folders of model and speech tokenizer, and HuBERT and the nets that the latter holds."""
    model, speech = Path(folder, "spirit-lm-base-7b"), Path(folder, "speech_tokenizer", "hubert_25hz")
    model.mkdir()
    speech.mkdir(parents=True)
    units = ["[Text]", "[Speech]", *(f"[Hu{n}]" for n in range(UNITS + 1)), *(["[Pi0]"] if expressive else [])]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS)] * 9), model_prefix=f"{model}/tokenizer", model_type="bpe", vocab_size=330,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, hard_vocab_limit=False,
        user_defined_symbols=units, minloglevel=2,
    )  # fmt: skip
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=336, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=96, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    sharpened(LlamaForCausalLM(config)).save_pretrained(model)
    config = HubertConfig(
        hidden_size=16, num_hidden_layers=12, num_attention_heads=2, intermediate_size=32, conv_dim=(24, 24),
        conv_stride=(20, 32), conv_kernel=(40, 32), num_feat_extract_layers=2, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    hubert = sharpened(HubertModel(config)).eval()
    sizes = (16, 15, 14, UNITS + 1)  # as dim 16 and upstream_dim 11 make them
    linear = [torch.nn.Linear(*pair) for pair in pairwise(sizes)]
    nets = sharpened(torch.nn.Sequential(linear[0], torch.nn.LeakyReLU(), linear[1], torch.nn.LeakyReLU(), linear[2]))
    nets[4].load_state_dict({name: tensor.roll(1, 0) for name, tensor in nets[4].state_dict().items()})  # blanks are among them
    said = {
        "label_rate": 25.0, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 32, "encoder_attention_heads": 2,
        "encoder_layers": 12, "conv_pos": 16, "conv_pos_groups": 4, "extractor_mode": "default",
        "conv_feature_layers": "[(24,40,20)] + [(24,32,32)] * 1",
    }  # fmt: skip
    weights = {fairseq(name): tensor for name, tensor in hubert.state_dict().items()}
    given = {"model_cfg": said, "task_cfg": {"normalize": False}, "model_weight": weights, "dictionaries_symbols": []}
    torch.save(given, speech / "mhubert_base_25hz.pt")
    given = {"model_cfg": {"vocab_size": UNITS, "dim": 16, "upstream_dim": 11}, "model_weight": nets.state_dict()}
    torch.save(given, speech / "L11_quantizer_500.pt")
    return SimpleNamespace(model=str(model), speech=str(speech.parent), hubert=hubert, nets=nets)
