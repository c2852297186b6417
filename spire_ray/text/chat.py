"""What stands around questions and answers in the chat format of a model.

Models made for SPIRE use the released ChatML. Any other model keeps the template it came with: its markup is read off the
template once, by rendering a conversation of two exchanges, so that documents are put together without the template.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IM_START, IM_END = "<|im_start|>", "<|im_end|>"
CHATML_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}"
    "{% if not loop.last or add_generation_prompt %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Released chat template: no system turn, no BOS (SpireLM)."""
RENDERED_BOS = "{{ bos_token }}"
"""What stands before the template of a model whose tokenizer puts BOS before a text, so that the template alone gives the ids
that are trained."""
NO_THINKING = "{% set enable_thinking = false %}"
"""The same for a template that would make room for thoughts: no answer that is trained has any."""


@dataclass(frozen=True)
class ChatFormat:
    """opening Q asking A closing between Q asking A closing ending; a system turn S makes `system S instructed` of opening."""

    opening: str
    """Before the first question: with BOS where the model's own template writes it."""
    asking: str
    """From a question to its answer."""
    closing: str
    """Ends an answer, and counts as a part of it."""
    between: str
    """From a closed answer to the next question."""
    answered: str
    """From a question to its answer where more questions follow: some templates leave out there what they ask for last."""
    ending: str
    """After the last closed answer."""
    system: str = ""
    """Before a system turn."""
    instructed: str = ""
    """From a system turn to the first question; empty where the template has no form for one."""
    trims: bool = False
    """Whether the template takes the white space off what is said, as those of Llama 3 and Gemma do."""


CHATML = ChatFormat(
    opening=f"{IM_START}user\n",
    asking=f"{IM_END}\n{IM_START}assistant\n",
    closing=IM_END,
    between=f"\n{IM_START}user\n",
    answered=f"{IM_END}\n{IM_START}assistant\n",
    ending="\n",
    system=f"{IM_START}system\n",
    instructed=f"{IM_END}\n{IM_START}user\n",
)


def markup(folder: str) -> ChatFormat:
    """The markup of a local model folder; ChatML where it has no template.

    Raises ValueError for a template that does not close answers with a special token.
    """
    template = _template(Path(folder))
    return CHATML if template is None or template.removeprefix(RENDERED_BOS) == CHATML_TEMPLATE else _read_off(folder)


def _template(folder: Path) -> str | None:
    if (folder / "chat_template.jinja").exists():
        return (folder / "chat_template.jinja").read_text()
    configuration = folder / "tokenizer_config.json"
    template = json.loads(configuration.read_text()).get("chat_template") if configuration.exists() else None
    return str(template) if template else None


def _read_off(folder: str) -> ChatFormat:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = [f"{kind}-{number}" for number in (1, 2) for kind in ("QUESTION", "ANSWER")]
    messages = [{"role": role, "content": word} for role, word in zip(("user", "assistant") * 2, words, strict=True)]
    options = {"tokenize": False, "enable_thinking": False}
    asked = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, **options)
    spaced = tokenizer.apply_chat_template([{"role": "user", "content": f" {words[0]} "}], **options)
    told = tokenizer.apply_chat_template(messages, add_generation_prompt=False, **options)
    opening, _, asking = asked.partition(words[0])
    after_first = told.partition(words[1])[2].partition(words[2])[0]
    after_last = told.partition(words[3])[2]
    special = {token for token in tokenizer.get_added_vocab() if after_first.lstrip().startswith(token)}
    special |= {token for token in (tokenizer.eos_token,) if token and after_first.lstrip().startswith(token)}
    if not special:
        raise ValueError(f"model={folder}: its chat template does not close an answer with a special token: {after_first!r}")
    token = max(special, key=len)
    closing = after_first[: after_first.index(token) + len(token)]
    system, instructed = _system(tokenizer, options)
    return ChatFormat(
        opening=opening,
        asking=asking,
        closing=closing,
        between=after_first.removeprefix(closing),
        answered=told.partition(words[0])[2].partition(words[1])[0],
        ending=after_last.removeprefix(closing) if after_last.startswith(closing) else "",
        system=system,
        instructed=instructed,
        trims=f" {words[0]} " not in spaced,
    )


def _system(tokenizer: Any, options: dict[str, bool]) -> tuple[str, str]:
    """What stands around a system turn; empty for a template that refuses one or leaves it out."""
    from jinja2 import TemplateError

    messages = [{"role": "system", "content": "SYSTEM-1"}, {"role": "user", "content": "QUESTION-1"}]
    try:
        rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, **options)
    except TemplateError:
        return "", ""
    before, found, after = rendered.partition("SYSTEM-1")
    return (before, after.partition("QUESTION-1")[0]) if found else ("", "")
