"""Text translated, and back: the skill that a model came with."""

from dataclasses import replace

from spire_ray.evaluation.tasks import TASKS, Question, Task
from spire_ray.inference.tasks import written
from spire_ray.text.prompts import Span


def translate(asked: Question) -> list[Span]:
    """The translation of the row's text."""
    return written(asked.tokenizer, asked.row.text, asked.row.language, asked.target, asked.form)


def translate_back(asked: Question) -> list[Span]:
    """The text of the row's translation."""
    return written(asked.tokenizer, asked.row.translation, asked.target, asked.row.language, asked.form)


MT = Task(
    kind="translation",
    prompt=translate,
    needs=("text",),
    reference="translation",
    metrics=lambda language: ("bleu", "chrf"),
    direction="mt.{source}-{target}",
)
TASKS.register("mt", MT)
TASKS.register(
    "mt_reverse",
    replace(
        MT,
        prompt=translate_back,
        needs=("translation",),
        reference="text",
        direction="mt.{target}-{source}",
        form="cpt",  # the same question for every model, as instruction tuning may have asked for one direction alone
    ),
)
