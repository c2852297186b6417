"""Licenses: what the card of a model states, what a user accepts, and what holds for a model made of several things."""

import re
from collections.abc import Iterable
from typing import Any

import yaml

from spire_ray.core import references, storage

CARD = "README.md"
OTHER = "other"
ELSEWHERE = "see the card"
"""In the catalogue: terms of several sources, which its card lists."""
_NON_COMMERCIAL = re.compile(r"(^|[-_ ])nc([-_ ]|$)|non-?commercial|research", re.IGNORECASE)
_BY_STRICTNESS = (
    *("cc0-1.0", "unlicense", "mit", "bsd-3-clause", "apache-2.0", "cc-by-3.0", "cc-by-4.0", "odc-by"),
    *("cc-by-sa-3.0", "cc-by-sa-4.0", "gpl-3.0", "openrail", "gemma", "llama2", "llama3"),
    *("cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", OTHER),
)


def license(folder: str) -> str:
    """`license` in the YAML head of the model card of a folder, several with commas; empty where there is none."""
    card = storage.join(folder, CARD)
    return _stated(storage.read_bytes(card).decode()) if storage.exists(card) else ""


def check(model: str, accepted: tuple[str, ...], fetched: str = "", otherwise: str = "") -> str:
    """The license of a folder, a bucket or a model of the Hub, printed; of one that was fetched, from that folder.

    `otherwise` is what holds where no card states one.

    Raises ValueError for a non-commercial one that was not accepted by name, and for a card of the Hub that cannot be read
    unless the model itself was accepted by its id.
    """
    accepts = {name.lower() for name in accepted}
    place = fetched or model
    local = storage.exists(place) or not storage.is_local(place)
    name, _, revision = model.partition("@")
    if not local and name.lower() in accepts:
        print(f"  license of {model}: accepted unread")
        return ""
    found = (license(place) if local else _of_the_hub(name, revision)) or otherwise
    if found:
        print(f"  license of {model}: {found}")
    for each in filter(None, found.split(", ")):
        if is_non_commercial(each) and each.lower() not in accepts:
            raise ValueError(f"model={model}: its license {each} is non-commercial; to accept it set license.accept=[{each}]")
    return found


def is_non_commercial(stated: str) -> bool:
    """Whether a license, by its name or its own words, is for some uses only."""
    return _NON_COMMERCIAL.search(stated) is not None


def check_corpus(corpus: str, stated: str, accepted: tuple[str, ...]) -> None:
    """The license of a corpus as the catalogue states it, printed.

    Raises ValueError for a non-commercial one, and for one that its card alone states, unless it or the corpus is accepted.
    """
    accepts = {name.lower() for name in accepted}
    print(f"  license of {corpus}: {stated}")
    if accepts & {corpus.lower(), stated.lower()}:
        return
    name = corpus if " " in stated else stated
    if is_non_commercial(stated):
        raise ValueError(f"corpus={corpus}: its license {stated} is non-commercial; to accept it set license.accept=[{name}]")
    if ELSEWHERE in stated:
        raise ValueError(f"corpus={corpus}: its license is stated on its card alone; read it and set license.accept=[{corpus}]")


def check_encoder(encoder: str, accepted: tuple[str, ...], revision: str = "") -> None:
    """`check` of an encoder; cepstra have none."""
    if references.has_weights(encoder):
        check(f"{encoder}@{revision}" if revision else encoder, accepted)


def strictest(licenses: Iterable[str]) -> str:
    """The license under which a thing may be used that was made of things under these; empty where none is stated.

    One that is not known here makes it `other`, which is stricter than all.
    """
    stated = {each for name in licenses for each in name.lower().split(", ") if each}
    known = [name if name in _BY_STRICTNESS else OTHER for name in stated]
    return max(known, key=_BY_STRICTNESS.index, default="")


def _of_the_hub(name: str, revision: str) -> str:
    """From a card in the cache, else from the Hub, which tells it of gated models, too."""
    from huggingface_hub import HfApi, errors, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(name, CARD, revision=revision or None)
        if isinstance(cached, str):
            return license(cached.rpartition("/")[0])
        data = HfApi().model_info(name, revision=revision or None, timeout=10).card_data
    except errors.HFValidationError:
        raise ValueError(f"model={name}: no such folder, and not a Hugging Face id") from None
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"model={name}: its license cannot be read ({reason}); if you know and accept it, set license.accept=[{name}]"
        ) from None
    return _named({key: data.get(key) for key in ("license", "license_name")} if data else {})


def _stated(card: str) -> str:
    head = card.split("---\n")
    data = yaml.safe_load(head[1]) if len(head) > 2 and not head[0] else None
    return _named(data if isinstance(data, dict) else {})


def _named(head: dict[str, Any]) -> str:
    """`license`, one or a list; the name of its own where that is `other`."""
    found = head.get("license") or ""
    names = [str(each) for each in (found if isinstance(found, list) else [found])]
    own = str(head.get("license_name") or OTHER)
    return ", ".join(own if name == OTHER else name for name in names if name)
