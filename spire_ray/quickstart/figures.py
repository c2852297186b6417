"""What the report says of a model, in words: its figures, and how they are grouped."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured result."""

    key: str
    """Key in the report, without the metric; what stands before the first dot is its group."""
    source: str
    """Key in `results.json`, without the metric."""
    title: str
    meaning: str
    """Plain words for the page; `{target}` stands for the target language."""


GROUPS = {
    "asr": ("Speech recognition (ASR)", "Word error rate (WER) in percent. Lower is better."),
    "st": ("Speech translation (ST)", "BLEU and chrF of English speech → {target}. Higher is better."),
    "mt": ("Text translation (MT)", "BLEU and chrF of English text → {target}: the skill the base model came with."),
    "mt_reverse": (
        "MT back into English",
        "BLEU and chrF of {target} text → English, asked in one plain form of every model.",
    ),
}
"""Group of figures → heading and what is measured."""

FIGURES = (
    Figure("asr.cpt", "cpt.asr", "after CPT", "After continued pre-training, where the model first meets speech as units."),
    Figure("asr", "it.asr", "after IT", "The finished model, after instruction tuning: of 100 words, so many are wrong."),
    Figure(
        "asr.control",
        "it.asr_control",
        "control: another clip's speech",
        "The finished model hears another clip than the one it is scored against. It must fail, or it would be guessing.",
    ),
    Figure("st.direct", "it.st_direct", "direct", "In one step, without writing the English down."),
    Figure("st.multiturn", "it.st_multiturn", "in two turns", "Writes the English down, then translates, in one conversation."),
    Figure("st.cascade", "it.st_cascade", "cascade", "Writes the English down, then translates that as plain text."),
    Figure("st.gold", "it.st_gold", "gold transcript", "Translates the true English text: what faultless hearing would give."),
    Figure(
        "st.control",
        "it.st_control",
        "control: another clip's speech",
        "Translates another clip than the one it is scored against. It should fall to the line below.",
    ),
    Figure(
        "st.shuffled_references",
        "shuffled_references",
        "shuffled references",
        "No model at all: the right translations in the wrong order, which is what similar sentences give for free.",
    ),
    Figure("mt.base", "base.mt", "base model", "Before it heard anything."),
    Figure("mt.cpt", "cpt.mt", "after CPT", "After continued pre-training on speech and text."),
    Figure("mt.it", "it.mt", "after IT", "After instruction tuning, asked by an instruction."),
    Figure("mt_reverse.base", "base.mt_reverse", "base model", "Before it heard anything."),
    Figure("mt_reverse.cpt", "cpt.mt_reverse", "after CPT", "After continued pre-training on speech and text."),
    Figure(
        "mt_reverse.it", "it.mt_reverse", "after IT", "After instruction tuning, which in the quickstart never asks for this."
    ),
)
METRICS = ("wer", "bleu", "chrf")


def duration(seconds: float) -> str:
    """Seconds as a person says them: `4 min 12 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
