"""Corpora and models that are brought from elsewhere."""

from dataclasses import dataclass, field
from typing import Literal

from spire_ray.settings.common import StageSettings
from spire_ray.settings.types import Operational


@dataclass(frozen=True, kw_only=True)
class FetchSettings(StageSettings):
    """Corpora and models → a folder or `s3://`, after which nothing is asked of the network. More may be named later."""

    stage: Literal["fetch"] = "fetch"
    corpora: Operational[tuple[str, ...]] = ()
    """Of the catalogue, `spire data show`."""
    models: Operational[tuple[str, ...]] = ()
    """Hugging Face ids, `id@revision` to pin them; another revision of one that is there is refused."""
    splits: Operational[tuple[str, ...]] = ("train",)
    """Others that are named later come to those that are there."""
    casing: Literal["keep", "lower", "sentence"] = "keep"
    """What becomes of the transcripts."""
    local: Operational[dict[str, str]] = field(default_factory=dict)
    """Corpus → folder of a copy that is here already, for those that cannot be downloaded by themselves."""
