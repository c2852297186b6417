"""Speech translated: at once, in two turns, by way of the transcript, and from the true transcript; and a control."""

from dataclasses import replace

from spire_ray.evaluation.tasks import TASKS, Question
from spire_ray.evaluation.tasks.mt import MT
from spire_ray.inference.tasks import spoken, written
from spire_ray.text import prompts
from spire_ray.text.prompts import Span


def direct(asked: Question) -> list[Span]:
    """The translation of the row's speech."""
    assert asked.row.units is not None
    return spoken(asked.tokenizer, asked.row.units, to=asked.target, form=asked.form)


def of_another(asked: Question) -> list[Span]:
    """The translation of another row's speech."""
    return direct(replace(asked, row=replace(asked.row, units=asked.row.another)))


def in_two_turns(asked: Question) -> list[Span]:
    """The translation in a second turn, after the model's own transcript."""
    tokenizer = asked.tokenizer
    style = prompts.STYLES[tokenizer.record.prompts]
    turns = prompts.multiturn(asked.earlier, "", asked.row.language, asked.target, style)
    return prompts.chat(turns, asked.row.units, tokenizer.chat)


def of_the_transcript(asked: Question) -> list[Span]:
    """The translation of the model's own transcript, as text."""
    return written(asked.tokenizer, asked.earlier, asked.row.language, asked.target, asked.form)


ST = replace(MT, prompt=direct, needs=("units",), direction="st.{source}-{target}")
TASKS.register("st_direct", ST)
TASKS.register("st_control", replace(ST, prompt=of_another, needs=("another",)))
TASKS.register("st_multiturn", replace(ST, prompt=in_two_turns, after="asr", forms=("it",), direction="turns.{source}-{target}"))
TASKS.register("st_cascade", replace(MT, prompt=of_the_transcript, needs=("units",), after="asr"))
TASKS.register("st_gold", MT)
