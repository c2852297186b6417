"""Unit ids by arithmetic: the ids are those of the whole text, and speech never comes in as text."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.model.extend import extend
from spire_ray.settings import ExtendModelSettings
from spire_ray.text import prompts
from spire_ray.text.prompts import Span, Turn
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.units import codec
from spire_ray.units.fingerprint import Fingerprint, Identity

units = st.lists(st.integers(0, 19), min_size=1, max_size=30).map(lambda ids: np.array(ids, np.uint16))
words = st.text(st.characters(exclude_categories=["Co", "Cs", "Zs", "Zl", "Zp", "Cc"]), min_size=1, max_size=12)
sentences = st.lists(words, min_size=1, max_size=5).map(" ".join).filter(lambda text: not codec.holds_units(text))


@pytest.fixture(scope="module")
def tokenizers(tiny_model, tiny_base, tiny_codebook, tmp_path_factory):
    """One for each way to write a unit."""
    other = str(tmp_path_factory.mktemp("extra_id"))
    extend(tiny_base, other, tiny_codebook.fingerprint, ExtendModelSettings(model="", codebook="", output="", surface="extra_id"))
    return {"pua": SpeechTokenizer(tiny_model), "extra_id": SpeechTokenizer(other)}


def whole(spans, surface):
    return "".join(span.text if span.units is None else codec.encode(span.units, surface) for span in spans)


@pytest.mark.parametrize("surface", ["pua", "extra_id"])
@given(units, sentences, sentences)
def test_ids_equal_those_of_the_whole_text(tokenizers, surface, units, transcript, translation):
    tokenizer = tokenizers[surface]
    documents = [
        prompts.completion(prompts.asr_prompt(), transcript, units),
        prompts.completion(prompts.mt_completion(transcript, "en", "de"), translation),
        prompts.prompt(prompts.asr_prompt(), units),
        prompts.chat(prompts.multiturn(transcript, translation, "en", "de"), units),
        prompts.chat([Turn(prompts.st_prompt("de"))], units),
        prompts.chat([Turn(prompts.mt_prompt(transcript, "en", "de"), translation)]),
    ]
    for spans, (ids, answers) in zip(documents, tokenizer.encode(documents), strict=True):
        assert ids.tolist() == tokenizer.text.encode(whole(spans, surface), add_special_tokens=False).ids
        assert len(answers) == len(ids)


def test_the_answer_mask_covers_the_answers_and_what_closes_them(tokenizers):
    tokenizer = tokenizers["pua"]
    turns = prompts.multiturn("the dog", "der Hund", "en", "de")
    [(ids, answers)] = tokenizer.encode([prompts.chat(turns, np.array([3, 4], np.uint16))])
    assert tokenizer.text.decode(ids[answers].tolist(), skip_special_tokens=False) == "the dog<|im_end|>der Hund<|im_end|>"
    assert (ids[answers] == tokenizer.im_end).sum() == 2


def test_unit_i_has_the_id_of_unit_0_plus_i(tokenizers, tiny_base):
    for surface, tokenizer in tokenizers.items():
        first = tokenizer.units.first
        assert first == len(SpeechTokenizer(tiny_base).text.get_vocab())
        for unit in (0, 7, 19):
            assert tokenizer.text.token_to_id(codec.token(unit, surface)) == first + unit
        [(ids, _)] = tokenizer.encode([[Span(units=np.array([0, 7, 19], np.uint16))]])
        assert ids.tolist() == [first, first + 7, first + 19]
        assert tokenizer.vocabulary_size == first + 20 + 2


@pytest.mark.parametrize("smuggled", ["\U000f0003", "<extra_id_3>", "the \U000f0000 dog"])
def test_speech_written_as_text_is_refused(tokenizers, smuggled):
    for tokenizer in tokenizers.values():
        with pytest.raises(ValueError, match="units written as text"):
            tokenizer.encode([prompts.completion(prompts.asr_prompt(), smuggled, np.array([1], np.uint16))])


def test_a_unit_outside_the_vocabulary_is_refused(tokenizers):
    with pytest.raises(ValueError, match="unit above the vocabulary: 20, which holds 0 to 19"):
        tokenizers["pua"].encode([prompts.prompt(prompts.asr_prompt(), np.array([1, 20, 2], np.uint16))])


def test_a_model_without_units_reads_text_and_refuses_speech(tiny_base):
    tokenizer = SpeechTokenizer(tiny_base)
    assert tokenizer.units is None
    assert tokenizer.im_end is None
    [(ids, _)] = tokenizer.encode([[Span("the dog")]])
    assert tokenizer.decode(ids.tolist()) == "the dog"
    with pytest.raises(ValueError, match="this model has no unit tokens; extend it with the stage extend_model"):
        tokenizer.encode([prompts.prompt(prompts.asr_prompt(), np.array([1], np.uint16))])


def test_decoding_leaves_out_units_and_special_tokens(tokenizers):
    tokenizer = tokenizers["pua"]
    spans = prompts.chat([Turn(prompts.asr_prompt(), "the dog")], np.array([1, 2, 3], np.uint16))
    [(ids, _)] = tokenizer.encode([spans])
    assert tokenizer.decode([tokenizer.bos, *ids.tolist(), tokenizer.eos]) == "user\nSpeech: \nEnglish:\nassistant\nthe dog"


def test_ids_are_those_that_transformers_gives(tokenizers, tiny_model):
    from transformers import AutoTokenizer

    text = "Speech: \U000f0003\U000f0000\nEnglish: größer 中<|im_end|>\n"
    ids = AutoTokenizer.from_pretrained(tiny_model)(text, add_special_tokens=False)["input_ids"]
    spans = [
        Span("Speech: "),
        Span(units=np.array([3, 0], np.uint16)),
        Span("\nEnglish: größer 中"),
        Span("<|im_end|>\n", control=True),
    ]
    assert tokenizers["pua"].encode([spans])[0][0].tolist() == ids


def test_no_documents_give_none(tokenizers):
    assert tokenizers["pua"].encode([]) == []


# --- a sentencepiece vocabulary, as the Llama family has it ---------------------------------------------------------


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A Llama tokenizer, extended here and, as SpireLM does it, by pieces of the sentencepiece model itself."""
    import sentencepiece
    import torch
    from safetensors.torch import save_file
    from sentencepiece import sentencepiece_model_pb2

    folder = tmp_path_factory.mktemp("llama")
    base, model, count = folder / "base", folder / "model", 20
    base.mkdir()
    (folder / "text").write_text("Speech: the dog sleeps\nEnglish: the dog\nGerman: der Hund schläft\nassistant user\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(base / "tokenizer"),
        vocab_size=360,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    pieces = sentencepiece_model_pb2.ModelProto.FromString((base / "tokenizer.model").read_bytes())
    first, score = len(pieces.pieces), pieces.pieces[-1].score
    for unit in range(count):
        pieces.pieces.add(piece=chr(0xF0000 + unit), score=score - 1 - unit, type=1)
    named = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (base / "tokenizer_config.json").write_text(json.dumps(named))
    (base / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": first}))
    save_file({"model.embed_tokens.weight": torch.randn(first, 4)}, base / "model.safetensors")
    identity = Identity(encoder="e", weights="w", layer=22, norm="none", waveform="none", frame_rate=50, clusters=count)
    extend(str(base), str(model), Fingerprint(identity=identity), ExtendModelSettings(model="", codebook="", output=""))
    return SpeechTokenizer(str(model)), sentencepiece.SentencePieceProcessor(model_proto=pieces.SerializeToString()), first


@pytest.mark.parametrize("transcript", ["the dog", "größer 中 🐶", "two  spaces"])
def test_ids_are_those_of_a_sentencepiece_model_that_holds_the_units(llama, transcript):
    tokenizer, reference, first = llama
    units = np.array([0, 19, 7], np.uint16)
    document = prompts.completion(prompts.asr_prompt(), transcript, units)
    [(ids, _)] = tokenizer.encode([document])
    assert ids.tolist() == reference.encode(whole(document, "pua"))
    assert tokenizer.units.first == first
    assert first + 19 in ids


def test_an_answer_has_the_same_ids_within_its_chat_as_the_whole_text_gives(llama):
    tokenizer, *_ = llama
    document = prompts.chat(prompts.multiturn("the dog", "der Hund", "en", "de"), np.array([3], np.uint16))
    [(ids, answers)] = tokenizer.encode([document])
    assert ids.tolist() == tokenizer.text.encode(whole(document, "pua"), add_special_tokens=False).ids
    assert tokenizer.text.decode(ids[answers].tolist(), skip_special_tokens=False) == "the dog<|im_end|>der Hund<|im_end|>"
    prompt = prompts.chat([Turn(prompts.asr_prompt())], np.array([3], np.uint16))
    [(asked, _)] = tokenizer.encode([prompt])
    assert ids[: len(asked)].tolist() == asked.tolist()  # what is asked later is what was trained on
