"""Speech written down, and a control: that of another row, which a model that hears must fail."""

from dataclasses import replace

from spire_ray.evaluation.tasks import TASKS, Question, Request, Task


def transcribe(asked: Question) -> Request:
    """The transcript of the row's speech."""
    return Request(skill="asr", row=asked.row, source=asked.row.language, target=asked.row.language)


def transcribe_another(asked: Question) -> Request:
    """The transcript of another row's speech."""
    return transcribe(replace(asked, row=asked.row.with_another()))


ASR = Task(
    kind="transcript",
    request=transcribe,
    needs=("speech",),
    reference="text",
    metrics=lambda language: (language.error_rate,),
    direction="asr.{source}",
)
TASKS.register("asr", ASR)
TASKS.register("asr_control", replace(ASR, request=transcribe_another, needs=("another",)))
