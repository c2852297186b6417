"""Documents of a pack as JSON lines for other trainers: what Axolotl, ms-swift and TRL read.

A chat is `{"messages": [{"role", "content"}, …]}`, a document of continued pre-training `{"text": …}` with its terminator; units
are the words of their tokens. With the template beside them a trainer makes the ids and the loss mask of the pack of them.
"""

import json
from collections.abc import Sequence

from spire_ray.core import storage
from spire_ray.packs.mixture import Prompted
from spire_ray.text.prompts import SPEECH
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.units import codec

FOLDER, TEMPLATE_FILE, SWIFT_FILE = "jsonl", "chat_template.jinja", "swift_template.py"
SWIFT = f'''"""The template `spire` of ms-swift, whose own backends count the questions, or no end of an answer but the last."""

from pathlib import Path

from swift.template import Template, TemplateMeta, register_template

CHAT = Path(__file__).with_name("{TEMPLATE_FILE}").read_text()


class SpireTemplate(Template):
    def _encode(self, inputs):
        messages = [message for message in inputs.messages if message["content"] is not None]
        if inputs.system is not None:
            messages = [{{"role": "system", "content": inputs.system}}, *messages]
        if self.use_chat_template:
            more = {{"return_dict": True, "return_assistant_tokens_mask": True}}
            made = self.tokenizer.apply_chat_template(messages, chat_template=CHAT, **more)
            ids, counted = made["input_ids"], made["assistant_masks"]
        else:
            ids = self.tokenizer("".join(message["content"] for message in messages))["input_ids"]
            counted = [1] * len(ids)
        labels = [token if used else -100 for token, used in zip(ids, counted, strict=True)] if self.is_training else None
        return {{"input_ids": ids, "labels": labels, "loss_scale": None}}


parts = {{"prefix": [], "prompt": ["{{{{QUERY}}}}"], "chat_sep": [], "system_prefix": ["{{{{SYSTEM}}}}"]}}
register_template(TemplateMeta("spire", **parts, template_cls=SpireTemplate))
'''
"""A plugin, which takes the template beside it."""
_CHAT, _TEXT = "chat", "text"


def line(document: Prompted, source: str, tokenizer: SpeechTokenizer, end: int) -> str:
    """The JSON of a document; `end` is its terminator where it is one of continued pre-training."""
    surface = tokenizer.units.surface if tokenizer.units else "pua"
    written = ["" if span.units is None else codec.encode(span.units, surface) for span in document.spans]
    made: dict[str, object] = {"utt_id": document.utt_id, "source": source}
    if document.everything_counts:
        text = "".join(units or span.text for units, span in zip(written, document.spans, strict=True))
        return json.dumps(made | {"text": text + str(tokenizer.text.id_to_token(end))}, ensure_ascii=False)
    spoken = next(filter(None, written), "")
    messages = [{"role": "system", "content": document.system}] if document.system else []
    for turn in document.turns:
        messages += [{"role": "user", "content": turn.user.replace(SPEECH, spoken)}]
        messages += [{"role": "assistant", "content": turn.assistant}]
    if tokenizer.chat.trims:
        messages = [{**message, "content": message["content"].strip()} for message in messages]
    return json.dumps(made | {"messages": messages}, ensure_ascii=False)


def template(tokenizer: SpeechTokenizer) -> str:
    """A chat template that renders a chat as the pack has it, with the answers, which the loss counts, marked as generated."""
    markup = tokenizer.chat
    bos = "" if tokenizer.bos is None else str(tokenizer.text.id_to_token(tokenizer.bos))

    def told(text: str, first: bool = False) -> str:
        whole = bos + text if first and not text.startswith(bos) else text
        return f"{{{{ {json.dumps(whole, ensure_ascii=False)} }}}}" if whole else ""

    opening = (
        f"{{% if loop.first %}}{told(markup.opening, True)}{{% elif messages[loop.index0 - 1]['role'] == 'system' %}}"
        f"{told(markup.instructed)}{{% else %}}{told(markup.between)}{{% endif %}}"
    )
    asking = (
        f"{{% if loop.index0 + 2 < messages | length %}}{told(markup.answered)}{{% else %}}{told(markup.asking)}{{% endif %}}"
    )
    return (
        "{% for message in messages %}"
        f"{{% if message['role'] == 'system' %}}{told(markup.system, True)}{{{{ message['content'] }}}}"
        f"{{% elif message['role'] == 'user' %}}{opening}{{{{ message['content'] }}}}{asking}"
        f"{{% else %}}{{% generation %}}{{{{ message['content'] }}}}{told(markup.closing)}{{% endgeneration %}}"
        f"{{% if loop.last %}}{told(markup.ending)}{{% endif %}}"
        "{% endif %}{% endfor %}"
    )


def write_templates(output: str, tokenizer: SpeechTokenizer) -> None:
    """The template of the chats, and the plugin by which ms-swift takes it."""
    for name, content in ((TEMPLATE_FILE, template(tokenizer)), (SWIFT_FILE, SWIFT)):
        storage.write_bytes(storage.join(output, FOLDER, name), content.encode())


def write_group(output: str, number: int, lines: Sequence[str]) -> dict[str, int]:
    """The lines of one group of documents, chats and texts each in a file of their own; returns how many there are."""
    kinds: dict[str, list[str]] = {_CHAT: [], _TEXT: []}
    for each in lines:
        kinds[_CHAT if "messages" in json.loads(each) else _TEXT].append(each)
    for kind, found in kinds.items():
        if found:
            place = storage.join(output, FOLDER, f"{kind}-{number:05d}.jsonl")
            storage.write_bytes(place, "".join(f"{each}\n" for each in found).encode())
    return {kind: len(found) for kind, found in kinds.items()}
