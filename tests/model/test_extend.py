"""The units become words of a model: new rows as specified, old ones untouched."""

import json
import shutil
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from spire_ray.core import copies
from spire_ray.model.extend import extend, extended_rows
from spire_ray.quickstart.scratch import save_model, train_tokenizer
from spire_ray.settings import ArchitectureSettings, ExtendModelSettings
from spire_ray.stages import extend_model
from spire_ray.text.record import UnitVocabulary
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.training import families
from spire_ray.units.codebook import Codebook
from spire_ray.units.fingerprint import Fingerprint, Identity
from tests.model import families as tiny
from tests.training import zoo

COUNT = 100
IDENTITY = Identity(encoder="e", weights="w", layer=22, norm="none", waveform="none", frame_rate=50, codebook="c", clusters=COUNT)
FINGERPRINT = Fingerprint(identity=IDENTITY)
SETTINGS = ExtendModelSettings(model="", codebook="", output="")
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A model whose head is its embedding, and one whose head is its own."""
    root, tokenizer = tmp_path_factory.mktemp("bases"), train_tokenizer(["the dog sleeps"], 290)
    for name, tied in (("tied", True), ("untied", False)):
        shape = ArchitectureSettings(hidden_size=16, layers=1, heads=2, intermediate_size=32, tied=tied, max_positions=64)
        save_model(str(root / name), tokenizer, shape, seed=0)
    return root


@pytest.fixture(scope="module", params=["tied", "untied"])
def extended(request, bases, tmp_path_factory):
    base, output = bases / request.param, tmp_path_factory.mktemp("extended") / request.param
    return base, output, extend(str(base), str(output), FINGERPRINT, SETTINGS)


# --- rows -----------------------------------------------------------------------------------------------------------


def test_new_rows_have_the_mean_and_a_hundred_thousandth_of_the_covariance_of_the_old():
    torch.manual_seed(0)
    old = torch.randn(2_000, 6) @ torch.randn(6, 6) + torch.randn(6)
    new = extended_rows(old, 2_000, 2_000 + 50_000, "normal", seed=42)[2_000:].double()
    covariance = torch.cov(old.double().T) * 1e-5
    spread = covariance.diagonal().sqrt()
    assert (new.mean(0) - old.double().mean(0)).abs().max() < 4 * spread.max() / 50_000**0.5
    assert torch.allclose(torch.cov(new.T), covariance, atol=0.03 * float(covariance.diagonal().max()))


def test_the_initialisation_mean_makes_every_new_row_the_mean_of_the_old():
    old = torch.randn(50, 8)
    new = extended_rows(old, 50, 64, "mean", seed=42)[50:]
    assert torch.allclose(new, old.mean(0).expand(14, -1))


def test_fewer_old_rows_than_dimensions_are_enough():
    assert torch.isfinite(extended_rows(torch.randn(5, 32), 5, 64, "normal", seed=0)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_old_rows_keep_their_bits_and_their_dtype(dtype):
    old = torch.randn(50, 8).to(dtype)
    rows = extended_rows(old, 50, 128, "normal", seed=42)
    assert rows.dtype == dtype
    assert torch.equal(rows[:50], old)


def test_the_seed_decides_the_new_rows():
    old = torch.randn(50, 8)
    one, again, other = (extended_rows(old, 50, 64, "normal", seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


# --- folders --------------------------------------------------------------------------------------------------------


def test_the_vocabulary_is_padded_to_a_multiple_of_64(extended):
    _base, output, vocabulary = extended
    rows = json.loads((output / "config.json").read_text())["vocab_size"]
    used = vocabulary.first + COUNT + 2
    assert rows == -(-used // 64) * 64
    tensors = load_file(output / "model.safetensors")
    assert {len(tensors[name]) for name in (EMBEDDING, HEAD) if name in tensors} == {rows}


def test_everything_old_keeps_its_bits(extended):
    base, output, _vocabulary = extended
    before, after = load_file(base / "model.safetensors"), load_file(output / "model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name][: len(tensor)], tensor), name


def test_embedding_and_head_are_extended_apart_where_they_are_apart(bases, tmp_path):
    extend(str(bases / "untied"), str(tmp_path), FINGERPRINT, SETTINGS)
    old, new = load_file(bases / "untied" / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    for name in (EMBEDDING, HEAD):
        first = len(old[name])
        assert torch.allclose(new[name][first:].mean(0), old[name].mean(0), atol=1e-4)
        assert torch.equal(new[name], extended_rows(old[name], len(old[name]), len(new[name]), "normal", 42))
    assert not torch.allclose(new[EMBEDDING][-1], new[HEAD][-1], atol=1e-3)


def test_unit_i_is_the_token_first_plus_i_and_the_chat_tokens_come_after_the_units(extended):
    from transformers import AutoTokenizer

    base, output, vocabulary = extended
    tokenizer = AutoTokenizer.from_pretrained(output)
    assert vocabulary.first == len(AutoTokenizer.from_pretrained(base).get_vocab())
    characters = "".join(chr(0xF0000 + i) for i in range(COUNT))
    ids = tokenizer(characters, add_special_tokens=False)["input_ids"]
    assert ids == list(range(vocabulary.first, vocabulary.first + COUNT))
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == vocabulary.first + COUNT
    assert tokenizer.convert_tokens_to_ids("<|im_start|>") == vocabulary.first + COUNT + 1


def test_text_without_units_keeps_its_ids(extended):
    from transformers import AutoTokenizer

    base, output, _ = extended
    text = "Speech: the dog sleeps\nGerman: größer 中 <s> 🐶"
    before, after = (AutoTokenizer.from_pretrained(folder)(text)["input_ids"] for folder in (base, output))
    assert before == after


def test_the_fingerprint_of_the_codebook_stands_in_the_record(extended):
    _, output, vocabulary = extended
    assert (
        UnitVocabulary.load(str(output))
        == vocabulary
        == UnitVocabulary(vocabulary.first, COUNT, "pua", FINGERPRINT, vocabulary.first)
    )


def test_the_extended_folder_loads_and_hears(extended):
    from transformers import AutoModelForCausalLM

    base, output, vocabulary = extended
    model, old = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for folder in (output, base))
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        assert torch.isfinite(model(input_ids=torch.tensor([[vocabulary.first, vocabulary.first + COUNT - 1]])).logits).all()
        before, after = old(input_ids=ids).logits, model(input_ids=ids).logits
    assert torch.allclose(after[..., : before.shape[-1]], before, atol=1e-6)


def test_a_model_in_several_files_stays_in_several_files(bases, tmp_path):
    base, output = tmp_path / "base", tmp_path / "output"
    shutil.copytree(bases / "untied", base)
    tensors = load_file(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    files = {name: f"model-0000{1 if name == HEAD else 2}-of-00002.safetensors" for name in tensors}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in tensors if files[name] == file}, base / file, metadata={"format": "pt"})
    (base / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    extend(str(base), str(output), FINGERPRINT, SETTINGS)
    extend(str(bases / "untied"), str(tmp_path / "single"), FINGERPRINT, SETTINGS)
    whole = load_file(tmp_path / "single" / "model.safetensors")
    assert json.loads((output / "model.safetensors.index.json").read_text())["weight_map"] == files
    assert all(torch.equal(load_file(output / file)[name], whole[name]) for name, file in files.items())


def test_an_extended_model_is_not_extended_again(extended, tmp_path):
    with pytest.raises(ValueError, match=r"already extended; its units are described in spire\.json"):
        extend(str(extended[1]), str(tmp_path), FINGERPRINT, SETTINGS)


def test_a_tokenizer_that_knows_the_unit_words_is_refused(extended, tmp_path):
    shutil.copytree(extended[1], tmp_path / "copy", ignore=shutil.ignore_patterns("spire.json"))
    with pytest.raises(ValueError, match=rf"its tokenizer holds {COUNT} unit words already; give it .* `spire units adopt`"):
        extend(str(tmp_path / "copy"), str(tmp_path / "out"), FINGERPRINT, SETTINGS)


def test_a_folder_without_weights_is_refused(bases, tmp_path):
    shutil.copytree(bases / "tied", tmp_path / "copy", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(ValueError, match=r"neither model\.safetensors nor model\.safetensors\.index\.json there"):
        extend(str(tmp_path / "copy"), str(tmp_path / "out"), FINGERPRINT, SETTINGS)


def test_whoever_generates_with_the_folder_ends_at_the_end_of_a_turn(extended):
    base, output, _ = extended
    end = AutoTokenizer.from_pretrained(output).convert_tokens_to_ids("<|im_end|>")
    base_end = json.loads((base / "config.json").read_text())["eos_token_id"]
    assert AutoModelForCausalLM.from_pretrained(output).generation_config.eos_token_id == [base_end, end]


def test_a_model_is_extended_from_a_bucket_into_a_bucket(s3, bases, tiny_codebook, tmp_path, monkeypatch):
    monkeypatch.setenv("SPIRE_CACHE", str(tmp_path / "cache"))
    copies.upload(str(bases / "tied"), "s3://spire/base")
    tiny_codebook.save("s3://spire/codebook")
    settings = ExtendModelSettings(model="s3://spire/base", codebook="s3://spire/codebook", output="s3://spire/model")
    extend_model.run(SimpleNamespace(settings=settings, facts={}))
    folder = copies.localize("s3://spire/model")
    assert UnitVocabulary.load(folder).count == 20
    assert AutoModelForCausalLM.from_pretrained(folder).config.vocab_size > 300
    assert Codebook.load("s3://spire/model/codebook").fingerprint == tiny_codebook.fingerprint


@pytest.mark.parametrize("family", ["phi", "gpt_neox"])
def test_a_model_whose_words_have_rows_elsewhere_is_refused_by_plan_and_job(family, bases, tmp_path):
    zoo.model(family).save_pretrained(tmp_path / "base")
    for file in (bases / "untied").glob("tokenizer*"):
        shutil.copy(file, tmp_path / "base")
    told = "lm_head.bias has a row for each word too" if family == "phi" else f"no tensor {EMBEDDING}"
    settings = ExtendModelSettings(model=str(tmp_path / "base"), codebook="c", output="o")
    with pytest.raises(ValueError, match=told):
        extend_model.plan(settings)
    with pytest.raises(ValueError, match=told):
        extend(str(tmp_path / "base"), str(tmp_path / "out"), FINGERPRINT, SETTINGS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("family", families.FAMILIES)
def test_every_family_that_can_be_trained_can_be_extended(family, bases, tmp_path):
    shape = {"vocab_size": 290, "pad_token_id": None}
    zoo.model(family, **shape).save_pretrained(tmp_path / "base")
    for file in (bases / "untied").glob("tokenizer*"):
        shutil.copy(file, tmp_path / "base")
    words = extend(str(tmp_path / "base"), str(tmp_path / "out"), FINGERPRINT, SETTINGS).first
    old, new = (AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype=torch.float32).eval() for name in ("base", "out"))
    ids = torch.tensor([[5, 6, 7, 9]])
    with torch.inference_mode():
        before, after = old(input_ids=ids).logits, new(input_ids=ids).logits
    assert new.config.vocab_size == 384
    assert torch.allclose(after[..., :words], before[..., :words], atol=1e-5)


@pytest.mark.parametrize("legacy", [True, False])
def test_no_space_follows_a_unit_or_a_chat_word_whatever_the_tokenizer_did_before(legacy, tmp_path):
    base = tiny.make("llama-2", tmp_path / "base")
    named = tmp_path / "base" / "tokenizer_config.json"
    named.write_text(json.dumps({**json.loads(named.read_text()), "legacy": legacy}))
    extend(base, str(tmp_path / "out"), FINGERPRINT, SETTINGS)
    ours, theirs = SpeechTokenizer(str(tmp_path / "out")).text, AutoTokenizer.from_pretrained(tmp_path / "out")
    plain = AutoTokenizer.from_pretrained(base)
    unit = chr(0xF0000)
    for text in (f"Speech: {unit}{unit}\nEnglish: the dog", f"{unit}the", "<|im_start|>user\nthe<|im_end|>", "the dog sees"):
        tokens = ours.encode(text, add_special_tokens=False).tokens
        assert tokens == theirs.tokenize(text)
        after = [after for word, after in pairwise(tokens) if word in (unit, "<|im_start|>")]
        assert not any(token.startswith("▁") for token in after)
    assert ours.encode("the dog sees", add_special_tokens=False).tokens == plain.tokenize("the dog sees")
