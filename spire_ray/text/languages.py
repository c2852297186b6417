"""Languages by ISO 639-1 code: the English name that prompts use, and how its text is scored.

The ten languages of TOWER and SPIRE. Chinese, Japanese and Korean are scored by character error rate.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """One language."""

    code: str
    name: str
    """English name, as it stands in prompts: `German: …`."""
    error_unit: str = "word"
    """What the error rate of a transcript counts: word or character."""


LANGUAGES = {
    language.code: language
    for language in (
        Language("en", "English"),
        Language("de", "German"),
        Language("fr", "French"),
        Language("nl", "Dutch"),
        Language("it", "Italian"),
        Language("es", "Spanish"),
        Language("pt", "Portuguese"),
        Language("ko", "Korean", "character"),
        Language("ru", "Russian"),
        Language("zh", "Chinese", "character"),
    )
}


def language(code_or_name: str) -> Language:
    """A language by code or English name. Raises ValueError for an unknown one."""
    wanted = code_or_name.strip().lower()
    for known in LANGUAGES.values():
        if wanted in (known.code, known.name.lower()):
            return known
    raise ValueError(f"language {code_or_name!r} is unknown; known are {', '.join(LANGUAGES)} and their English names")
