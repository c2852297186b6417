"""Speech translated: at once, in two turns, by way of the transcript, and from the true transcript; and a control."""

from dataclasses import replace

from spire_ray.evaluation.tasks import TASKS, Question, Request
from spire_ray.evaluation.tasks.mt import MT, translate


def direct(asked: Question) -> Request:
    """The translation of the row's speech."""
    return Request(skill="st", row=asked.row, source=asked.row.language, target=asked.target)


def of_another(asked: Question) -> Request:
    """The translation of another row's speech."""
    return direct(replace(asked, row=asked.row.with_another()))


def in_two_turns(asked: Question) -> Request:
    """The translation in a second turn, after the model's own transcript."""
    return replace(direct(asked), skill="turns", text=asked.earlier)


def of_the_transcript(asked: Question) -> Request:
    """The translation of a transcript that was made before, as text."""
    return replace(translate(asked), text=asked.earlier)


ST = replace(MT, request=direct, needs=("speech",), direction="st.{source}-{target}")
TASKS.register("st_direct", ST)
TASKS.register("st_control", replace(ST, request=of_another, needs=("another",)))
TASKS.register("st_multiturn", replace(ST, request=in_two_turns, after="asr", forms=("it",), direction="turns.{source}-{target}"))
TASKS.register("st_cascade", replace(MT, request=of_the_transcript, needs=(), after="asr"))
TASKS.register("st_gold", MT)
