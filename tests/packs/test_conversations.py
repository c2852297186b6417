"""The JSON lines beside a pack: transformers makes the pack's own ids and loss mask of them."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from spire_ray.model.extend import extend
from spire_ray.packs import conversations, mixture, tokens
from spire_ray.settings import ExtendModelSettings, PackSettings, SourceSettings
from spire_ray.text.tokenizer import SpeechTokenizer
from tests.model import families

SOURCES = (
    ("asr", {}), ("mt", {"target_language": "de"}), ("text", {}), ("asr", {"format": "it"}),
    ("st", {"target_language": "de", "format": "it"}), ("st_multiturn", {"target_language": "de", "format": "it"}),
    ("mt", {"target_language": "de", "format": "it"}), ("text", {"format": "it"}),
)  # fmt: skip
ANSWER = 'See\nyou "all" {{ x }} größer'
TURNS = [("system", " Be kind "), ("human", "Hi "), ("gpt", "Hello"), ("human", "Bye"), ("gpt", ANSWER)]


@pytest.fixture(scope="module", params=["chatml", "extra_id", "llama-3", "qwen", "smollm2", "llama-2"])
def model(request, tmp_path_factory, tiny_model, tiny_codebook):
    """SPIRE's own ChatML, units as words, and models that keep their chat: with BOS in it, with thoughts, with a system turn."""
    if request.param == "chatml":
        return tiny_model
    folder = tmp_path_factory.mktemp("kept")
    kind = "llama-3" if request.param == "extra_id" else request.param
    own = request.param in ("extra_id", "llama-2")  # which has no template of its own
    chat = {"chat": "chatml", "surface": "extra_id"} if own else {"chat": "keep"}
    base = families.make(kind, folder / "base")
    extend(base, str(folder / "model"), tiny_codebook.fingerprint, ExtendModelSettings(model="", codebook="", output="", **chat))
    return str(folder / "model")


def documents(model):
    """Of one row, one of every task: as the token file has them."""
    chat = json.dumps([{"from": speaker, "value": value} for speaker, value in TURNS])
    row = {
        "utt_id": "u", "text": "the dog", "language": "en", "translations": [("de", "der Hund ")], "duration": 1.0,
        "units": np.array([3, 1, 19], np.uint16), "status": "labelled",
    }  # fmt: skip
    sources = tuple(SourceSettings(task=task, data="d", name=f"{n}", **more) for n, (task, more) in enumerate(SOURCES))
    settings = PackSettings(model=model, output="", sources=sources, sequence_length=512, to="jsonl")
    tokeniser = tokens.Tokeniser(settings)
    for number, source in enumerate(sources):
        given = row | {"conversations": chat} if (source.task, source.format) == ("text", "it") else row
        made, rejected = tokeniser.documents(number, [given])
        for one in made:
            yield f"{source.task} {source.format}", one
        assert not rejected or source.task == "text", rejected  # a template without a form for a system turn


def test_the_ids_and_the_loss_mask_are_those_of_the_pack(model):
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(model), SpeechTokenizer(model)
    template = conversations.template(ours)
    seen = []
    for kind, document in documents(model):
        line = json.loads(document["line"])
        if "text" in line:
            ids = theirs(line["text"])["input_ids"]
            mask = [1] * len(ids)
        else:
            made = theirs.apply_chat_template(
                line["messages"], chat_template=template, return_dict=True, return_assistant_tokens_mask=True
            )
            ids, mask = made["input_ids"], made["assistant_masks"]
        assert ids == document["ids"].tolist(), kind
        assert mask == [int(counted) for counted in document["counted"]], kind
        assert line["utt_id"] == "u"
        seen.append(kind)
    assert {f"{task} {more.get('format', 'cpt')}" for task, more in SOURCES} - {*seen} <= {"text it"}


class Swift:
    """As much of ms-swift's Template as the plugin stands on."""

    is_training = True

    def __init__(self, tokenizer, use_chat_template):
        self.tokenizer, self.use_chat_template = tokenizer, use_chat_template


def test_the_template_for_ms_swift_counts_what_the_pack_counts(model, tmp_path, monkeypatch):
    """Called as its own dataset code calls it: a system turn by itself, an answer that is to come as None."""
    from transformers import AutoTokenizer

    made = {}
    module = SimpleNamespace(Template=Swift, TemplateMeta=lambda name, **more: more, register_template=made.update)
    monkeypatch.setitem(sys.modules, "swift", SimpleNamespace(template=module))
    monkeypatch.setitem(sys.modules, "swift.template", module)
    conversations.write_templates(str(tmp_path), SpeechTokenizer(model))
    plugin = tmp_path / "jsonl" / "swift_template.py"
    exec(compile(plugin.read_text(), plugin, "exec"), {"__file__": str(plugin)})
    tokenizer = AutoTokenizer.from_pretrained(model)
    for kind, document in documents(model):
        line = json.loads(document["line"])
        template = made["template_cls"](tokenizer, "messages" in line)
        messages = line.get("messages") or [{"role": "assistant", "content": line["text"]}]
        system = messages.pop(0)["content"] if messages[0]["role"] == "system" else None
        found = template._encode(SimpleNamespace(messages=messages, system=system))
        assert found["input_ids"] == document["ids"].tolist(), kind
        assert [label != -100 for label in found["labels"]] == document["counted"].tolist(), kind
        if "messages" in line:
            messages[-1]["content"] = None
            asked = template._encode(SimpleNamespace(messages=messages, system=system))["input_ids"]
            assert asked == document["ids"].tolist()[: len(asked)] and not any(document["counted"][len(asked) - 1 : len(asked)])


def test_chats_and_texts_are_in_files_of_their_own(tmp_path):
    lines = ['{"messages": []}', '{"text": "a\\nb"}', '{"text": "messages"}']
    assert conversations.write_group(str(tmp_path), 7, lines) == {"chat": 1, "text": 2}
    files = {path.name: path.read_text().splitlines() for path in (tmp_path / "jsonl").iterdir()}
    assert files == {"chat-00007.jsonl": lines[:1], "text-00007.jsonl": lines[1:]}


def test_a_question_keeps_its_units_in_the_first_turn_alone():
    row = {"utt_id": "u", "text": "the dog", "language": "en", "translations": [("de", "x")], "units": [1, 2]}
    source = SourceSettings(task="st_multiturn", data="d", target_language="de", format="it")
    document = mixture.prompted(source, row)
    line = json.loads(conversations.line(document, "s", type("T", (), {"units": None, "chat": mixture.CHATML}), 0))
    assert [message["content"] for message in line["messages"]] == [
        "Speech: \U000f0001\U000f0002\nEnglish:", "the dog", "German:", "x",
    ]  # fmt: skip
