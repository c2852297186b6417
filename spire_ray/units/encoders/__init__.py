"""Speech encoders by their kind: the `model_type` of a Hugging Face model, or the name of one without weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spire_ray.core.registry import Registry
from spire_ray.settings import EncoderSettings

if TYPE_CHECKING:
    from spire_ray.units.encoders.encoder import SpeechEncoder


@dataclass(frozen=True)
class Weights:
    """Where the model of the settings lies, as a folder or an id of the Hub, and its `config.json`."""

    folder: str
    config: Any


Load = Callable[[EncoderSettings, Weights | None, str], "SpeechEncoder"]
"""Settings, weights (None for a kind that has none) and device → encoder."""

ENCODERS: Registry[Load] = Registry("encoder", "spire_ray.units.encoders")


def options(settings: EncoderSettings, **defaults: Any) -> dict[str, Any]:
    """The options of a kind. Raises ValueError for one that it does not have and for a value of another type."""
    for name, value in settings.options.items():
        field = f"encoder.options.{name}={value}"
        if name not in defaults:
            known = f"it has {', '.join(defaults)}" if defaults else "it has none"
            raise ValueError(f"{field}: {settings.name} has no such option; {known}")
        if type(value) is not type(defaults[name]):
            raise ValueError(f"{field}: must be of the type of {defaults[name]!r}")
    return {**defaults, **settings.options}
