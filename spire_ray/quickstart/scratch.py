"""A small Llama from scratch: byte-level BPE trained on text, and random weights.

It stands for TOWER where nothing can be downloaded; after training on text it is extended and taught like the real one.
"""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from spire_ray.settings import ArchitectureSettings

BOS, EOS = "<s>", "</s>"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE with at most `vocabulary` entries; `<s>` is 0 and `</s>` is 1. Raises ValueError if too small."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocabulary < len(alphabet) + 2:
        raise ValueError(f"vocabulary={vocabulary}: must hold {len(alphabet)} bytes and 2 special tokens")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[BOS, EOS], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    begin = (BOS, tokenizer.token_to_id(BOS))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[begin])
    return tokenizer


def save_model(folder: str, tokenizer: Tokenizer, shape: ArchitectureSettings, seed: int) -> int:
    """Write a model folder with random weights; returns the number of parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    if shape.hidden_size % shape.heads or shape.hidden_size // shape.heads % 2:
        raise ValueError(f"architecture.heads={shape.heads}: hidden_size {shape.hidden_size} / heads must be a whole even number")
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.max_positions,
        tie_word_embeddings=shape.tied,
        bos_token_id=tokenizer.token_to_id(BOS),
        eos_token_id=tokenizer.token_to_id(EOS),
        pad_token_id=tokenizer.token_to_id(EOS),
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=EOS)
    wrapped.save_pretrained(folder)
    return int(model.num_parameters())
