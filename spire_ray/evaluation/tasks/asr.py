"""Speech written down, and a control: that of another row, which a model that hears must fail."""

from dataclasses import replace

from spire_ray.evaluation.tasks import TASKS, Question, Task
from spire_ray.inference.tasks import spoken
from spire_ray.text.prompts import Span


def transcribe(asked: Question) -> list[Span]:
    """The transcript of the row's speech."""
    assert asked.row.units is not None
    return spoken(asked.tokenizer, asked.row.units, asked.row.language, form=asked.form)


def transcribe_another(asked: Question) -> list[Span]:
    """The transcript of another row's speech."""
    return transcribe(replace(asked, row=replace(asked.row, units=asked.row.another)))


ASR = Task(
    kind="transcript",
    prompt=transcribe,
    needs=("units",),
    reference="text",
    metrics=lambda language: (language.error_rate,),
    direction="asr.{source}",
)
TASKS.register("asr", ASR)
TASKS.register("asr_control", replace(ASR, prompt=transcribe_another, needs=("another",)))
