"""A small Llama from scratch, the stand-in for a real base model."""

import pytest
from safetensors.torch import load_file

from spire_ray.quickstart.scratch import save_model, train_tokenizer
from spire_ray.settings import ArchitectureSettings

SHAPE = ArchitectureSettings(hidden_size=16, layers=1, heads=2, intermediate_size=32, max_positions=64)


def test_its_tokenizer_reads_any_text_back():
    tokenizer = train_tokenizer(["the dog sleeps", "der Hund schläft"], 300)
    assert (tokenizer.token_to_id("<s>"), tokenizer.token_to_id("</s>")) == (0, 1)
    assert tokenizer.get_vocab_size() <= 300
    for text in ("the dog", "größer 中 🐶", "a\n b\t"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_what_it_was_trained_on_takes_fewer_tokens():
    text = "the dog sleeps in the garden"
    small, large = train_tokenizer([text] * 9, 258), train_tokenizer([text] * 9, 290)
    assert len(large.encode(text).ids) < len(small.encode(text).ids)


def test_a_vocabulary_without_room_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match="vocabulary=257: must hold 256 bytes and 2 special tokens"):
        train_tokenizer(["x"], 257)


def test_heads_that_do_not_divide_the_hidden_size_are_refused(tmp_path):
    shape = ArchitectureSettings(hidden_size=16, heads=3)
    with pytest.raises(ValueError, match=r"architecture\.heads=3: hidden_size 16 / heads must be a whole even number"):
        save_model(str(tmp_path), train_tokenizer(["x"], 258), shape, seed=0)


def test_the_saved_model_loads_and_the_seed_decides_its_weights(tmp_path):
    from transformers import AutoModelForCausalLM

    tokenizer = train_tokenizer(["x"], 258)
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        parameters = save_model(str(tmp_path / name), tokenizer, SHAPE, seed)
    files = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "again", "other")}
    assert files["one"] == files["again"] != files["other"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    saved = load_file(tmp_path / "one" / "model.safetensors")
    assert parameters == model.num_parameters() == sum(tensor.numel() for tensor in saved.values())
    assert (model.config.bos_token_id, model.config.eos_token_id) == (0, 1)
