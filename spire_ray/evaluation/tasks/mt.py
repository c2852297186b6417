"""Text translated, and back: the skill that a model came with."""

from dataclasses import replace

from spire_ray.evaluation.tasks import TASKS, Question, Request, Task


def translate(asked: Question) -> Request:
    """The translation of the row's text."""
    row = asked.row
    return Request(skill="mt", row=row, source=row.language, target=asked.target, text=row.text, shots=row.shots)


def translate_back(asked: Question) -> Request:
    """The text of the row's translation."""
    row, shots = asked.row, tuple((translation, text) for text, translation in asked.row.shots)
    return Request(skill="mt", row=row, source=asked.target, target=row.language, text=row.translation, shots=shots)


def continued_back(asked: Question) -> Request:
    """The same question for every model, as text to be continued: instruction tuning may have asked for one direction alone."""
    return replace(translate_back(asked), form="cpt")


MT = Task(
    kind="translation",
    request=translate,
    needs=("text",),
    reference="translation",
    metrics=lambda language: ("bleu", "chrf"),
    direction="mt.{source}-{target}",
)
TASKS.register("mt", MT)
BACK = replace(MT, request=translate_back, needs=("translation",), reference="text", direction="mt.{target}-{source}")
TASKS.register("mt_back", BACK)
TASKS.register("mt_reverse", replace(BACK, request=continued_back))
