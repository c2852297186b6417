"""Teach a text LLM to hear: speech as discrete units, from a laptop to a KubeRay cluster."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spire_ray.inference.speech_to_text import SpeechToText

__all__ = ["SpeechToText"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`SpeechToText` is imported when it is asked for: it brings torch along."""
    if name == "SpeechToText":
        from spire_ray.inference.speech_to_text import SpeechToText

        return SpeechToText
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
