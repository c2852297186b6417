"""A translation corrected: automatic post-editing of what another system wrote, which a row brings as `mt` in `extra`.

The paper does not print its question. This one is the example that TowerInstruct's authors give of their test data, which has
several wordings (discussion 8 of Unbabel/TowerInstruct-7B-v0.2 on the Hub); whether SPIRE had this one is not known.
"""

from dataclasses import replace

from spire_ray.evaluation.tasks import TASKS, Question, Request
from spire_ray.evaluation.tasks.mt import MT
from spire_ray.text.languages import language


def correct(asked: Question) -> Request:
    """The row's draft, corrected."""
    row, source, target = asked.row, language(asked.row.language).name, language(asked.target).name
    question = (
        "The primary goal of automatic post-editing is to boost the translation's quality by making small adjustments to address "
        "any existing errors in the translation. If the translation is already accurate, there is no need to change it and "
        f"instead it should be copied.\nSource ({source}): {row.text}\nTranslation ({target}): {row.draft}\nPost-edited: "
    )
    return Request(skill="instruct", row=row, source=row.language, target=asked.target, text=question)


TASKS.register(
    "ape", replace(MT, request=correct, needs=("text", "draft"), direction="instruct.{source}-{target}", forms=("it",))
)
