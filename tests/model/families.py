"""Tiny random models of the families that SPIRE's recipe should reach, each with a tokenizer of its own kind."""

import json
import random
from pathlib import Path

TEXT = [
    "Speech: the dog sleeps\nEnglish: the dog sleeps\nGerman: der Hund schläft",
    "Translate the following text from English to German.\nEnglish: a cat sees it",
    "user assistant system größer 中 12345",
]
LLAMA_3_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
    " + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
QWEN_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
SMOLLM_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}


def sentencepiece_model(folder: Path, pieces: int = 360, user_defined: tuple[str, ...] = ()) -> None:
    """`tokenizer.model` of a BPE with byte fallback, as Llama 2 and EuroLLM have it."""
    import sentencepiece

    draw = random.Random(0)
    made = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(4, 9))) for _ in range(max(0, pieces - 400))]
    lines = [" ".join(made[i : i + 10]) for i in range(0, len(made), 10)]
    (folder / "text").write_text("\n".join(TEXT * 20 + lines))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=pieces,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=list(user_defined),
        hard_vocab_limit=False,
        minloglevel=2,
    )
    named = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True}
    named |= {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    for name in ("text", "tokenizer.vocab"):
        (folder / name).unlink()


def byte_level_tokenizer(
    folder: Path, begin: str | None, end: str, others: tuple[str, ...], template: str, adds: bool = True
) -> None:
    """`tokenizer.json` of a byte-level BPE that cuts text as GPT-4's does, as Llama 3 and Qwen have it.

    `adds`: it puts `begin` before a text by itself.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    tokenizer.add_special_tokens([word for word in (begin, end, *others) if word])
    if begin and adds:
        special = [(begin, tokenizer.token_to_id(begin))]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=special)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=begin, eos_token=end)
    wrapped.chat_template = template
    wrapped.save_pretrained(folder)


def make(family: str, folder: Path) -> str:
    """Write the folder of one family and return it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    match family:
        case "llama-2":
            sentencepiece_model(folder)
            config, cls, ids = LlamaConfig(**_SHAPE, max_position_embeddings=512), LlamaForCausalLM, 360
        case "eurollm":  # has the ChatML words as pieces, grouped queries, a head of its own
            sentencepiece_model(folder, user_defined=("<|im_start|>", "<|im_end|>"))
            config, cls, ids = LlamaConfig(**_SHAPE, num_key_value_heads=2, max_position_embeddings=512), LlamaForCausalLM, 362
        case "llama-3":
            headers = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
            byte_level_tokenizer(folder, "<|begin_of_text|>", "<|end_of_text|>", headers, LLAMA_3_TEMPLATE)
            tied = {"tie_word_embeddings": True, "rope_theta": 500000.0, "max_position_embeddings": 512}
            config, cls, ids = LlamaConfig(**_SHAPE, num_key_value_heads=2, **tied), LlamaForCausalLM, 0
        case "qwen":  # more rows than its tokenizer has words, and no BOS
            byte_level_tokenizer(folder, None, "<|endoftext|>", ("<|im_start|>", "<|im_end|>"), QWEN_TEMPLATE)
            tied = {"tie_word_embeddings": True, "head_dim": 8, "max_position_embeddings": 512}
            config, cls, ids = Qwen3Config(**_SHAPE, num_key_value_heads=2, **tied), Qwen3ForCausalLM, 448
        case "smollm2":  # its BOS is what opens every turn, and its tokenizer puts none before a text
            byte_level_tokenizer(folder, "<|im_start|>", "<|im_end|>", ("<|endoftext|>",), SMOLLM_TEMPLATE, adds=False)
            tied = {"tie_word_embeddings": True, "max_position_embeddings": 512}
            config, cls, ids = LlamaConfig(**_SHAPE, **tied), LlamaForCausalLM, 0
        case _:
            raise ValueError(family)
    from transformers import AutoTokenizer

    words = max(AutoTokenizer.from_pretrained(folder).get_vocab().values()) + 1
    config.vocab_size = max(ids, words)
    cls(config).save_pretrained(folder)
    return str(folder)


FAMILIES = ("llama-2", "llama-3", "eurollm", "qwen", "smollm2")
