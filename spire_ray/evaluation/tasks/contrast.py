"""Which of two translations is likelier, where what was said decides it and not what was written: a stress, a tone, a pause.

A row brings the wrong one as `contrast` in `extra`. Nothing is generated: the answer is the translation that the model gives the
higher probability, its end included, as ContraPro scores pronouns (Müller et al., 2018). A cascade hears the transcript alone.
"""

from collections.abc import Callable
from dataclasses import replace

from spire_ray.evaluation.tasks import TASKS, Question, Request, Task
from spire_ray.evaluation.tasks.mt import translate
from spire_ray.evaluation.tasks.st import direct, of_the_transcript


def between(request: Callable[[Question], Request]) -> Callable[[Question], Request]:
    """A request that asks which of the row's two translations is the one."""
    return lambda asked: replace(request(asked), choices=(asked.row.translation, asked.row.contrast))


DIRECT = Task(
    kind="choice",
    request=between(direct),
    needs=("speech", "contrast"),
    reference="translation",
    metrics=lambda language: ("accuracy",),
    direction="st.{source}-{target}",
)
TASKS.register("contrast_direct", DIRECT)
OF_TEXT = replace(DIRECT, direction="mt.{source}-{target}")
TASKS.register("contrast_cascade", replace(OF_TEXT, request=between(of_the_transcript), needs=("contrast",), after="asr"))
TASKS.register("contrast_gold", replace(OF_TEXT, request=between(translate), needs=("text", "contrast")))
