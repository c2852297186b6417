"""What settings refer to: model folders, ids of the Hugging Face Hub, folders that stages made, manifests.

The type of a setting says what its text may name (`spire_ray.settings.types.Reference`); the one question that a text leaves
open, whether `a/b` is a folder or an id of the Hub, is answered here alone.
"""

import os
import re

from spire_ray.core import storage
from spire_ray.core.fields import Field

FOUND, ABSENT, ON_THE_HUB = "found", "absent", "an id of the Hub"
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


def is_hub_id(text: str, root: str = "") -> bool:
    """Whether a model reference is `organization/name`, perhaps with `@revision`, and no path.

    It is a path where it exists, begins with the root of the outputs, or stands in a folder that is there: `models/it` beside
    a folder `models` is a model that is missing.
    """
    inside = bool(root) and text.startswith(f"{root.rstrip('/')}/")
    return _ID.fullmatch(text) is not None and not inside and not os.path.isdir(text.partition("/")[0])


def where(field: Field, root: str = "") -> str:
    """FOUND, ABSENT or ON_THE_HUB, for a field with a reference and a text."""
    text = str(field.value)
    kind = field.reference.kind if field.reference else ""
    if kind == "encoder" and "/" not in text and not os.path.exists(text):
        return FOUND  # a kind without weights; `load_encoder` knows which there are
    if storage.exists(storage.first(text)):
        return FOUND
    return ON_THE_HUB if kind in ("model", "encoder") and is_hub_id(text, root) else ABSENT
