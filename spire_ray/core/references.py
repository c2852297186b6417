"""What settings refer to: model folders, ids of the Hugging Face Hub, folders that stages made, manifests.

The type of a setting says what its text may name (`spire_ray.settings.types.Reference`); the one question that a text leaves
open, whether `a/b` is a folder or an id of the Hub, is answered here alone.
"""

import os
import re

from spire_ray.core import copies, mlflow_store, storage
from spire_ray.core.fields import Field

FOUND, ABSENT, ON_THE_HUB = "found", "absent", "an id of the Hub"
NOT_ASKED = "not asked: a dry run asks no network"
_MODEL_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "README.md"]
"""What is fetched from the Hub."""
_DESCRIPTION_FILES = ["spire.json", "codebook/*", "README.md", "config.json"]
"""Of those, what says what a model is."""
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


def is_hub_id(text: str, root: str = "") -> bool:
    """Whether a model reference is `organization/name`, perhaps with `@revision`, and no path.

    It is a path where it exists, begins with the root of the outputs, or stands in a folder that is there: `models/it` beside
    a folder `models` is a model that is missing.
    """
    inside = bool(root) and text.startswith(f"{root.rstrip('/')}/")
    return _ID.fullmatch(text) is not None and not inside and not os.path.isdir(text.partition("/")[0])


def has_weights(encoder: str) -> bool:
    """Whether an encoder reference names a folder or an id of the Hub, and not a kind without weights, such as `mfcc`."""
    return "/" in encoder or os.path.exists(encoder)


def local_model(text: str, field: str = "model") -> str:
    """A local folder with a model: itself, or a copy of an `s3://` folder or of a Hugging Face `id[@revision]`.

    Raises ValueError, saying what to do, for one that is not there or cannot be had.
    """
    text = mlflow_store.registered(text)
    if storage.exists(text):
        return copies.localize(text)
    if not storage.is_local(text):
        raise ValueError(f"{field}={text}: not found")
    if not is_hub_id(text):
        raise ValueError(f"{field}={text}: no such folder, and not a Hugging Face id")
    return _from_hub(text, field)


def described(text: str, field: str = "model") -> str:
    """Where the small files of a model can be read that say what it is: its folder or bucket, or a copy of them from the Hub.

    Nothing of its weights is fetched. Raises as `local_model` does.
    """
    if storage.exists(text):
        return text
    return local_model(text, field) if not is_hub_id(text) else _from_hub(text, field, _DESCRIPTION_FILES)


def _from_hub(text: str, field: str, wanted: list[str] = _MODEL_FILES) -> str:
    from huggingface_hub import errors, snapshot_download

    name, _, revision = text.partition("@")
    try:
        return str(snapshot_download(name, revision=revision or None, allow_patterns=wanted))
    except errors.HFValidationError:
        reason = "no such folder, and not a Hugging Face id"
    except errors.GatedRepoError:
        reason = f"gated: accept its terms at https://huggingface.co/{name} and set HF_TOKEN"
    except errors.RepositoryNotFoundError:
        reason = "no such folder, and no such model on the Hugging Face Hub; if it is private, set HF_TOKEN"
    except errors.RevisionNotFoundError:
        reason = f"its repository has no revision {revision!r}"
    except errors.LocalEntryNotFoundError:
        offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
        advice = "unset HF_HUB_OFFLINE" if offline else "check the connection"
        reason = f"no such folder, not in the cache at HF_HOME, and the Hugging Face Hub is out of reach: {advice}"
    except OSError as error:
        reason = f"not to be had from the Hugging Face Hub: {error}"
    raise ValueError(f"{field}={text}: {reason}")


def where(field: Field, root: str = "") -> str:
    """FOUND, ABSENT, ON_THE_HUB or NOT_ASKED, for a field with a reference and a text."""
    text = str(field.value)
    kind = field.reference.kind if field.reference else ""
    if kind == "encoder" and not has_weights(text):
        return FOUND  # `load_encoder` knows which kinds there are
    if kind == "manifest" and storage.is_hub(text):
        return ON_THE_HUB
    if not storage.is_asked(text):
        return NOT_ASKED
    if all(storage.exists(storage.first(each)) for each in storage.alternatives(text)):
        return FOUND
    return ON_THE_HUB if kind in ("model", "encoder") and is_hub_id(text, root) else ABSENT
