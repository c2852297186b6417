"""Old sentencepiece tokenizers put a space before every stretch of text, after every unit too.

Released as `legacy: true` or with a normalizer that prepends: text after a unit or a chat word then begins with a `▁` that nobody
wrote, which tokens of the reference do not have, and which transformers leaves out again when it loads the folder.
"""

from typing import Any

from tokenizers.pre_tokenizers import Metaspace

_SPACE = "▁"


def at_the_start_alone(tokenizer: Any, unit: str) -> None:
    """Let a tokenizer of transformers put its space at the start of a document alone; `unit` is one of its added words.

    Raises ValueError for one that goes on to put it after units.
    """
    backend = tokenizer.backend_tokenizer
    if _spaces_after(backend, unit):
        backend.normalizer = None
        backend.pre_tokenizer = Metaspace(replacement=_SPACE, prepend_scheme="first", split=False)
        if "legacy" in tokenizer.init_kwargs:
            tokenizer.init_kwargs["legacy"] = False
        if hasattr(tokenizer, "legacy"):
            tokenizer.legacy = False
        tokenizer.add_prefix_space = True
    if _spaces_after(backend, unit):
        raise ValueError("model: its tokenizer puts a space after every unit; give it one that does not (`legacy: false`)")


def _spaces_after(backend: Any, unit: str) -> bool:
    """Whether text that follows a unit begins with a space that it does not have."""
    following = backend.encode(f"a{unit}a", add_special_tokens=False).tokens[-1]
    return bool(following.startswith(_SPACE))
