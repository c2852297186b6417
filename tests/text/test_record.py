"""What a model folder says of itself, and that documents begin as its tokenizer begins them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from spire_ray.model.extend import extend
from spire_ray.settings import ExtendModelSettings
from spire_ray.text import prompts, record
from spire_ray.text.prompts import Span, Turn
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.units import codec
from spire_ray.units.fingerprint import Fingerprint, Identity
from tests.model import families

UNITS = np.array([3, 0, 7], np.uint16)
IDENTITY = Identity(encoder="e", weights="w", layer=22, norm="none", waveform="none", frame_rate=50, clusters=20)


def extended(folder, family, chat, **named):
    """A family with 20 units, its tokenizer configuration changed before."""
    base = families.make(family, folder / "base")
    path = Path(base, "tokenizer_config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | named))
    settings = ExtendModelSettings(model="", codebook="", output="", chat=chat)
    extend(base, str(folder / "model"), Fingerprint(identity=IDENTITY), settings)
    return str(folder / "model")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A function (family, chat) → model folder, made once."""
    made = {}

    def folder(family, chat, **named):
        key = (family, chat, *named.items())
        if key not in made:
            made[key] = extended(tmp_path_factory.mktemp(family), family, chat, **named)
        return made[key]

    return folder


KINDS = [(family, "chatml") for family in families.FAMILIES] + [(family, "keep") for family in ("llama-3", "qwen", "smollm2")]
CONVERSATIONS = [
    [Turn(prompts.asr_prompt())],
    [Turn("one", "two"), Turn("three")],
    prompts.multiturn("the dog", "", "en", "de"),
    [Turn(" one ", "two\n"), Turn("\tthree ")],
]


@pytest.mark.parametrize(("family", "chat"), KINDS)
@pytest.mark.parametrize("turns", CONVERSATIONS, ids=("asr", "text", "multiturn", "spaces"))
def test_the_template_of_a_folder_gives_the_ids_that_are_trained(folders, family, chat, turns):
    from transformers import AutoTokenizer

    folder = folders(family, chat)
    tokenizer, theirs = SpeechTokenizer(folder), AutoTokenizer.from_pretrained(folder)
    said = [
        {"role": role, "content": text} for t in turns for role, text in (("user", t.user), ("assistant", t.assistant)) if text
    ]
    said = [{**one, "content": one["content"].replace(prompts.SPEECH, codec.encode(UNITS))} for one in said]
    expected = theirs.apply_chat_template(said, add_generation_prompt=True)["input_ids"]
    [asked] = tokenizer.asked([prompts.chat(turns, UNITS, tokenizer.chat)])
    assert asked.tolist() == expected


@pytest.mark.parametrize(("family", "chat"), KINDS)
def test_a_completion_begins_as_the_tokenizer_begins_a_text(folders, family, chat):
    from transformers import AutoTokenizer

    folder = folders(family, chat)
    tokenizer = SpeechTokenizer(folder)
    [asked] = tokenizer.asked([prompts.prompt(prompts.asr_completion(), UNITS)])
    text = prompts.asr_completion().replace(prompts.SPEECH, codec.encode(UNITS))
    assert asked.tolist() == AutoTokenizer.from_pretrained(folder)(text)["input_ids"]


@pytest.mark.parametrize("chat", ["chatml", "keep"])
def test_a_bos_that_opens_every_turn_is_not_written_twice(folders, chat):
    tokenizer = SpeechTokenizer(folders("smollm2", chat))
    assert tokenizer.bos is None
    [asked] = tokenizer.asked([prompts.chat([Turn(prompts.asr_prompt())], UNITS, tokenizer.chat)])
    start = tokenizer.text.token_to_id("<|im_start|>")
    assert asked[0] == start != asked[1]


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize(("adds", "bos"), [(True, 1), (False, None)])
def test_what_add_bos_token_says_is_obeyed(folders, adds, bos, legacy):
    tokenizer = SpeechTokenizer(folders("llama-2", "chatml", add_bos_token=adds, legacy=legacy))
    assert tokenizer.bos == record.load(tokenizer._folder).bos == bos
    documents = [[Span("the dog")], prompts.chat([Turn("the dog")])]
    assert [(ids[0] == 1) for ids in tokenizer.asked(documents)] == [adds, adds]


def test_a_model_that_was_trained_on_bare_documents_is_asked_without_bos(folders, tmp_path):
    folder = shutil.copytree(folders("llama-2", "chatml"), tmp_path / "model")
    index = {"sources": [{"name": "asr", "format": "cpt"}], "packing": "megatron", "terminator": 2}
    record.trained(record.load(str(folder)), index).save(str(folder))
    tokenizer = SpeechTokenizer(str(folder))
    documents = [[Span("the dog")], prompts.chat([Turn("the dog")])]
    assert [(ids[0] == 1) for ids in tokenizer.asked(documents)] == [False, True]


def test_a_folder_without_a_record_says_as_much_as_its_tokenizer(tmp_path):
    found = record.of(families.make("llama-3", tmp_path))
    assert (found.form, found.units, found.directions) == ("it", None, ())
    assert found.bos is not None and found.terminator == found.eos
    assert record.of(families.make("llama-2", tmp_path / "base")).form == "cpt"


def test_a_tokenizer_without_an_end_is_refused(tmp_path):
    folder = Path(families.make("qwen", tmp_path))
    named = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({k: v for k, v in named.items() if k not in ("eos_token", "pad_token")})
    )
    with pytest.raises(ValueError, match=r"neither </s> nor an eos_token in tokenizer_config\.json"):
        record.of(str(folder))


def test_a_tokenizer_that_begins_a_text_with_two_tokens_is_refused(tmp_path):
    from tokenizers import processors

    folder = Path(families.make("llama-3", tmp_path))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words = ("<|begin_of_text|>", "<|eot_id|>")
    special = [(word, tokenizer.token_to_id(word)) for word in words]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{words[0]} {words[1]} $A", special_tokens=special)
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(ValueError, match="puts 2 tokens before a text"):
        record.of(str(folder))


def test_a_record_comes_back_as_it_was_saved(folders, tmp_path):
    saved = record.load(folders("qwen", "keep"))
    assert saved.units.fingerprint.identity == IDENTITY
    changed = record.trained(
        saved, {"sources": [{"format": "it"}], "directions": ["st.en-de"], "longest": {"units": 9, "seconds": 1.5}}
    )
    changed.save(str(tmp_path))
    assert record.load(str(tmp_path)) == changed
    assert (changed.form, changed.longest_units, changed.longest_seconds) == ("it", 9, 1.5)


def test_a_tokenizer_that_was_changed_after_its_record_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders("qwen", "keep"), tmp_path / "model")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(100)
    tokenizer.save(str(folder / "tokenizer.json"))
    SpeechTokenizer(str(folder))  # which changes no id
    tokenizer.add_tokens(["dog"])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"its tokenizer is another than its spire\.json was written for"):
        SpeechTokenizer(str(folder))


# --- control tokens in data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "chat"), KINDS)
def test_a_control_token_in_data_never_becomes_one(folders, family, chat):
    tokenizer = SpeechTokenizer(folders(family, chat))
    added = tokenizer.text.get_added_tokens_decoder().values()
    words = sorted(token.content for token in added if not codec.holds_units(token.content))
    assert "<|im_end|>" in words or family == "llama-3"
    for word in words:
        text = f"the {word} dog"
        documents = [
            prompts.completion(prompts.asr_completion(), text, UNITS),
            prompts.completion(prompts.mt_completion("a cat", "en", "de"), text),
            [Span(text)],
            [Span(word)],
            prompts.chat([Turn(prompts.asr_prompt(), text)], UNITS, tokenizer.chat),
            prompts.chat([Turn(text, "a cat")], markup=tokenizer.chat),
            prompts.chat([Turn("a cat")], markup=tokenizer.chat, system=text),
        ]
        assert [str(found).partition(":")[0] for found in tokenizer.attempt(documents)] == [
            "control token written as text"
        ] * 7, word


def test_the_words_of_a_token_spelled_by_others_are_left_out_of_an_answer(folders):
    tokenizer = SpeechTokenizer(folders("llama-2", "chatml"))
    spelled = [tokenizer.text.token_to_id(piece) for piece in ("<0x3C>", "<0x2F>", "<0x73>", "<0x3E>")]
    assert None not in spelled
    ids, _ = tokenizer.encode([[Span("the dog")]])[0]
    assert tokenizer.decode([*ids.tolist(), *spelled]) == "the dog"
    nested = [*spelled[:2], *spelled, *spelled[2:]]  # </</s>s>
    assert tokenizer.decode([*ids.tolist(), *nested]) == "the dog"
