"""Generation: one answer for each prompt, the same alone and in company, ended where it should end."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from spire_ray.inference.generate import HuggingFaceGenerator
from spire_ray.model.extend import extend
from spire_ray.quickstart.scratch import save_model, train_tokenizer
from spire_ray.settings import ArchitectureSettings, ExtendModelSettings
from spire_ray.text import prompts
from spire_ray.text.prompts import Span, Turn
from spire_ray.text.tokenizer import SpeechTokenizer


@pytest.fixture(scope="module")
def asked():
    """Questions of many lengths about speech, and one about text."""
    draw = np.random.default_rng(5)
    units = [draw.integers(0, 20, n).astype(np.uint16) for n in (3, 40, 17, 17, 8, 90)]
    speech = [prompts.chat([Turn(prompts.asr_prompt())], u) for u in units]
    return [*speech, prompts.prompt(prompts.mt_completion("the dog", "en", "de"))]


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_answers_are_the_same_in_any_batch(tiny_model, asked, batch_size):
    one_by_one = HuggingFaceGenerator(tiny_model, max_new_tokens=12)
    expected = [one_by_one([prompt])[0] for prompt in asked]
    assert len(set(expected)) > len(asked) // 2  # else the prompts did not matter
    assert HuggingFaceGenerator(tiny_model, max_new_tokens=12, batch_size=batch_size)(asked) == expected


def test_answers_are_those_of_hugging_face(tiny_model, asked):
    from transformers import AutoModelForCausalLM

    generator = HuggingFaceGenerator(tiny_model, max_new_tokens=6)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval(), generator.tokenizer
    for prompt, answer in zip(asked, generator(asked), strict=True):
        [(ids, _)] = tokenizer.encode([prompt])
        tokens = [tokenizer.bos, *ids.tolist()]
        for _ in range(6):
            with torch.inference_mode():
                tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
        greedy = tokens[1 + len(ids) :]
        ends = [i for i, t in enumerate(greedy) if t in (tokenizer.eos, tokenizer.im_end) or tokenizer.text.decode([t]) == "\n"]
        assert answer == tokenizer.decode(greedy[: ends[0]] if ends else greedy)


def test_nothing_asked_gives_nothing(tiny_model):
    assert HuggingFaceGenerator(tiny_model)([]) == []


def parrot(folder, codebook, then):
    """A model that says `a` after a colon, `b` after `a`, `then` after `b`, and `c` after that and from then on."""
    base = str(folder / "base")
    shape = ArchitectureSettings(hidden_size=32, layers=1, heads=2, intermediate_size=32, tied=False, max_positions=64)
    save_model(base, train_tokenizer(["x"], 258), shape, seed=0)
    model = str(folder / "model")
    extend(base, model, codebook.fingerprint, ExtendModelSettings(model=base, codebook="", output=model))
    tokenizer = SpeechTokenizer(model).text
    said = [tokenizer.token_to_id(token) for token in (":", "a", "b", then, "c")]
    weights = load_file(f"{model}/model.safetensors")
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        weights[f"model.layers.0.{name}.weight"].zero_()
    embedding, head = weights["model.embed_tokens.weight"].zero_(), weights["lm_head.weight"].zero_()
    for place, (token, following) in enumerate(zip(said, [*said[1:], said[-1]], strict=True)):
        embedding[token, place] = head[following, place] = 1
    save_file(weights, f"{model}/model.safetensors", {"format": "pt"})
    return model


@pytest.mark.parametrize(
    ("then", "answer"), [("Ċ", "ab"), ("<|im_end|>", "ab"), ("</s>", "ab"), ("\U000f0007", "abcc"), ("d", "abdcc")]
)
def test_an_answer_ends_with_its_line_or_an_end_token_and_never_holds_units(tmp_path, tiny_codebook, then, answer):
    generator = HuggingFaceGenerator(parrot(tmp_path, tiny_codebook, then), max_new_tokens=5)
    assert generator([[Span("Speech: x\nEnglish:")], [Span("German:")]]) == [answer, answer]


def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused(tiny_model):
    positions = json.loads(Path(tiny_model, "config.json").read_text())["max_position_embeddings"]
    generator = HuggingFaceGenerator(tiny_model, max_new_tokens=10)
    assert generator.longest_prompt == positions - 10
    fits = [Span(units=np.zeros(positions - 11, np.uint16))]
    assert len(generator([fits])) == 1
    with pytest.raises(ValueError, match=f"a prompt of {positions - 9} tokens is longer than {positions - 10}: cut the audio"):
        generator([fits, [Span(units=np.zeros(positions - 10, np.uint16))]])
