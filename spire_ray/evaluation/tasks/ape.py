"""A translation corrected: automatic post-editing of what another system wrote, which a row brings as `mt` in `extra`.

The paper does not print its question; this one is of this platform, in the form of its question for translation.
"""

from dataclasses import replace

from spire_ray.evaluation.tasks import TASKS, Question, Request
from spire_ray.evaluation.tasks.mt import MT
from spire_ray.text.languages import language


def correct(asked: Question) -> Request:
    """The row's draft, corrected."""
    row, source, target = asked.row, language(asked.row.language).name, language(asked.target).name
    question = (
        f"Improve the following translation from {source} to {target}.\n{source}: {row.text}\nTranslation: {row.draft}\n{target}:"
    )
    return Request(skill="instruct", row=row, source=row.language, target=asked.target, text=question)


TASKS.register(
    "ape", replace(MT, request=correct, needs=("text", "draft"), direction="instruct.{source}-{target}", forms=("it",))
)
