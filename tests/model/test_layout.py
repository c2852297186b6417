"""Token ids of the released models, and models of other families that keep what is theirs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from spire_ray.model.extend import extend
from spire_ray.settings import ExtendModelSettings
from spire_ray.text import chat, prompts
from spire_ray.text.record import MEGATRON_SPECIALS
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.units import codec
from spire_ray.units.fingerprint import Fingerprint, Identity
from tests.model import families


def fingerprint(count):
    identity = Identity(encoder="e", weights="w", layer=22, norm="none", waveform="utterance", frame_rate=50, clusters=count)
    return Fingerprint(identity=identity)


def reference(pieces, count):
    """The sentencepiece model as SpireLM builds it: each word appended as a piece, scores falling by one."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(Path(pieces).read_bytes())
    score = proto.pieces[-1].score
    words = [(word, 4) for word in MEGATRON_SPECIALS] + [(codec.token(unit), 1) for unit in range(count)]
    words += [("<|im_end|>", 4), ("<|im_start|>", 4)]
    for number, (word, kind) in enumerate(words):
        proto.pieces.add(piece=word, score=score - 1 - number, type=kind)
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


@pytest.fixture(scope="module")
def spire_7b(tmp_path_factory):
    """A vocabulary of 32,000 pieces extended by 5,000 units with the preset, and the same made by sentencepiece."""
    folder = tmp_path_factory.mktemp("spire")
    base, model = folder / "base", folder / "model"
    base.mkdir()
    families.sentencepiece_model(base, pieces=32_000)
    (base / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 32_000}))
    save_file(
        {name: torch.randn(32_000, 4) for name in ("model.embed_tokens.weight", "lm_head.weight")}, base / "model.safetensors"
    )
    settings = ExtendModelSettings(model="", codebook="", output="", preset="spire-7b")
    extend(str(base), str(model), fingerprint(5000), settings)
    return model, SpeechTokenizer(str(model)), reference(base / "tokenizer.model", 5000)


def test_the_preset_has_the_ids_of_the_released_models(spire_7b):
    model, tokenizer, _ = spire_7b
    specials = [tokenizer.text.token_to_id(word) for word in ("<CLS>", "<EOD>", "<MASK>", "<PAD>", "<SEP>")]
    assert specials == [32_000, 32_001, 32_002, 32_003, 32_004]
    assert (tokenizer.units.first, tokenizer.units.count) == (32_005, 5000)
    assert [tokenizer.text.token_to_id(chr(0xF0000 + unit)) for unit in (0, 4999)] == [32_005, 37_004]
    assert [tokenizer.text.token_to_id(word) for word in ("<|im_end|>", "<|im_start|>")] == [37_005, 37_006]
    assert (tokenizer.bos, tokenizer.eos, tokenizer.end) == (1, 2, 32_001)
    assert json.loads((model / "config.json").read_text())["vocab_size"] == 37_056
    assert {tensor.shape[0] for tensor in load_file(model / "model.safetensors").values()} == {37_056}


TEXTS = ("the dog sleeps", "größer 中 🐶", "two  spaces", "Price: 12,345 <b>x</b>", "трудно 한국어 中文")


@pytest.mark.parametrize("text", TEXTS)
def test_the_ids_of_every_prompt_are_those_of_the_sentencepiece_library(spire_7b, text):
    _, tokenizer, pieces = spire_7b
    units = np.array([0, 4999, 17, 17, 2500], np.uint16)
    documents = [
        prompts.completion(prompts.asr_completion(), text, units),
        prompts.completion(prompts.asr_completion(style=prompts.STYLES["spire-2025"]), text, units),
        prompts.completion(prompts.mt_completion(text, "en", "de"), "der Hund"),
        prompts.prompt(prompts.st_prompt("zh"), units),
        prompts.prompt(prompts.mt_prompt(text, "de", "en")),
    ]
    for spans, (ids, _) in zip(documents, tokenizer.encode(documents), strict=True):
        assert ids.tolist() == pieces.encode("".join(s.text if s.units is None else codec.encode(s.units) for s in spans))


def test_the_chat_tokens_stand_where_sentencepiece_puts_them(spire_7b):
    _, tokenizer, pieces = spire_7b
    document = prompts.chat(prompts.multiturn("the dog", "der Hund", "en", "de"), np.array([3, 4], np.uint16))
    [(ids, _)] = tokenizer.encode([document])
    whole = "".join(s.text if s.units is None else codec.encode(s.units) for s in document)
    chat = {37_005, 37_006}
    # before its first piece sentencepiece writes a space of its own, which nothing precedes here
    assert [i for i in ids.tolist() if i in chat] == [i for i in pieces.encode(whole) if i in chat]
    assert pieces.decode(list(pieces.encode(whole))).split() == pieces.decode(ids.tolist()).split()


# --- other families -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=families.FAMILIES)
def kept(request, tmp_path_factory):
    """A family as it came and as it is with 100 units, everything else its own."""
    folder = tmp_path_factory.mktemp(request.param)
    base = families.make(request.param, folder / "base")
    extend(base, str(folder / "model"), fingerprint(100), ExtendModelSettings(model="", codebook="", output="", chat="keep"))
    return base, str(folder / "model")


def test_text_keeps_its_ids_and_units_follow_them(kept):
    from transformers import AutoTokenizer

    base, model = kept
    before, after = AutoTokenizer.from_pretrained(base), AutoTokenizer.from_pretrained(model)
    for text in TEXTS:
        assert before(text)["input_ids"] == after(text)["input_ids"]
    tokenizer = SpeechTokenizer(model)
    assert tokenizer.units.first == max(before.get_vocab().values()) + 1
    units = np.array([0, 99, 5], np.uint16)
    [(ids, _)] = tokenizer.encode([prompts.prompt(prompts.asr_prompt(), units)])
    assert ids.tolist() == after(f"Speech: {codec.encode(units)}\nEnglish:", add_special_tokens=False)["input_ids"]


def test_old_rows_keep_their_bits_and_unit_rows_are_new(kept):
    _base, model = kept
    before, after = (load_file(f"{folder}/model.safetensors") for folder in kept)
    first = SpeechTokenizer(model).units.first
    new = after["model.embed_tokens.weight"]
    assert torch.equal(new[:first], before["model.embed_tokens.weight"][:first])
    assert ((new[first:] - new[:first].mean(0)).abs() < 1e-3).all()  # also where the family had spare rows
    assert (
        len(new) == json.loads(Path(model, "config.json").read_text())["vocab_size"] >= len(before["model.embed_tokens.weight"])
    )


def test_the_chat_is_rendered_as_the_models_own_template_does_or_as_chatml(kept):
    from transformers import AutoTokenizer

    rendering = AutoTokenizer.from_pretrained(kept[1])
    tokenizer = SpeechTokenizer(kept[1])
    if not rendering.chat_template:  # a base model
        assert tokenizer.chat == chat.CHATML
        return
    said = [("user", "one"), ("assistant", "two"), ("user", "three")]
    messages = [{"role": role, "content": content} for role, content in said]
    expected = rendering.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    spans = prompts.chat([prompts.Turn("one", "two"), prompts.Turn("three")], markup=tokenizer.chat)
    assert "".join(span.text for span in spans) == expected
    [(ids, answers)] = tokenizer.encode([prompts.chat([prompts.Turn("one", "two")], markup=tokenizer.chat)])
    assert tokenizer.text.decode(ids[answers].tolist(), skip_special_tokens=False) == f"two{tokenizer.chat.closing}"
    assert tokenizer.text.token_to_id(tokenizer.chat.closing) in tokenizer.stops


def test_a_system_turn_is_rendered_as_the_models_own_template_does(kept):
    from transformers import AutoTokenizer

    rendering, tokenizer = AutoTokenizer.from_pretrained(kept[1]), SpeechTokenizer(kept[1])
    if not rendering.chat_template:
        return
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "one"}]
    expected = rendering.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    spans = prompts.chat([prompts.Turn("one")], markup=tokenizer.chat, system="be kind")
    assert "".join(span.text for span in spans) == expected


@pytest.mark.parametrize("form", ["{{ raise_exception('no system') }}", ""])
def test_a_template_without_a_system_turn_says_so(tmp_path, form):
    base = Path(families.make("qwen", tmp_path / "base"))
    before = f"{{% if messages[0]['role'] == 'system' %}}{form}{{% set messages = messages[1:] %}}{{% endif %}}"
    (base / "chat_template.jinja").write_text(before + families.QWEN_TEMPLATE)
    markup = SpeechTokenizer(str(base)).chat
    assert (markup.system, markup.instructed) == ("", "")
    assert markup.opening == "<|im_start|>user\n"


def test_a_template_that_closes_no_answer_is_refused(tmp_path):
    base = Path(families.make("qwen", tmp_path / "base"))
    (base / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}, {% endfor %}")
    with pytest.raises(ValueError, match="its chat template does not close an answer with a special token: ', '"):
        _ = SpeechTokenizer(str(base)).chat


def test_a_model_without_an_embedding_of_the_usual_name_is_refused(tmp_path):
    base = Path(families.make("llama-2", tmp_path / "base"))
    tensors = load_file(base / "model.safetensors")
    save_file({name.replace("embed_tokens", "wte"): tensor for name, tensor in tensors.items()}, base / "model.safetensors")
    with pytest.raises(ValueError, match=r"no tensor model\.embed_tokens\.weight"):
        extend(str(base), str(tmp_path / "x"), fingerprint(5), ExtendModelSettings(model="", codebook="", output=""))


def test_files_without_vocabulary_rows_are_copied_unread(tmp_path, monkeypatch):
    base = Path(families.make("eurollm", tmp_path / "base"))
    tensors = load_file(base / "model.safetensors")
    vocabulary = ("model.embed_tokens.weight", "lm_head.weight")
    files = {name: f"model-0000{1 + (name in vocabulary)}-of-00002.safetensors" for name in tensors}
    for file in set(files.values()):
        save_file({n: t for n, t in tensors.items() if files[n] == file}, base / file, metadata={"format": "pt"})
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": files}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    (base / "model.safetensors").unlink()
    read = []
    from spire_ray.model import extend as module

    monkeypatch.setattr(module, "load_file", lambda path: read.append(path.name) or load_file(path))
    extend(str(base), str(tmp_path / "model"), fingerprint(100), ExtendModelSettings(model="", codebook="", output=""))
    assert read == ["model-00002-of-00002.safetensors"]
    after = {name: load_file(tmp_path / "model" / file)[name] for name, file in files.items()}
    assert all(torch.equal(after[name], tensors[name]) for name in tensors if name not in vocabulary)
    written = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    assert written["metadata"]["total_size"] == sum(tensor.nbytes for tensor in after.values())


def test_units_of_another_codebook_are_refused_with_the_difference(tmp_path, kept):
    with pytest.raises(ValueError, match="do not mean the same: clusters 100 against 50"):
        extend(kept[1], str(tmp_path), fingerprint(50), ExtendModelSettings(model="", codebook="", output=""))


def test_a_published_folder_is_not_extended_but_adopted(spire_7b, tmp_path):
    published = tmp_path / "SpireFull"
    shutil.copytree(spire_7b[0], published, ignore=shutil.ignore_patterns("spire.json"))
    with pytest.raises(ValueError, match=r"holds 5000 unit words already; give it the fingerprint .* `spire units adopt`"):
        extend(str(published), str(tmp_path / "x"), fingerprint(5000), ExtendModelSettings(model="", codebook="", output=""))
