"""A causal language model through the engines: of this platform, with unit tokens, or any text model such as TowerInstruct."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spire_ray.core import references
from spire_ray.core.registry import nearest
from spire_ray.evaluation.systems import SYSTEMS, Answer, SystemKind, beams, in_batches, options
from spire_ray.evaluation.tasks import Request, Skill
from spire_ray.inference.engines import ENGINES, Stats
from spire_ray.inference.tasks import in_turns, spoken, written
from spire_ray.settings import EvaluatedModel, GenerationSettings
from spire_ray.text import prompts, record
from spire_ray.text.prompts import Span, Turn
from spire_ray.text.record import Form

if TYPE_CHECKING:
    from spire_ray.inference.generate import EngineGenerator


PADDED = "padded"
"""The engine that is the reference; others share what they have computed of speech between the tasks that are asked about it."""


class LanguageModel:
    """A model that is asked in prompts, as its folder says that it was trained."""

    def __init__(
        self, generator: "EngineGenerator", form: Form | None = None, batch_size: int = 64, style: str = "", beams: int = 1
    ) -> None:
        self.generator, self.tokenizer, self._batch_size = generator, generator.tokenizer, batch_size
        self._beams = beams
        self.form: Form = form or self.tokenizer.record.form
        self._style = style or self.tokenizer.record.prompts

    @property
    def stats(self) -> Stats:
        """What its engine has read, and what of that it did not have to compute again."""
        return self.generator.engine.stats

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """See `System`. An answer ends with its line."""
        if any(request.choices for request in requests):
            return [self._chosen(request) for request in requests]
        documents = [self.prompt(request) for request in requests]
        most = self.generator.longest_prompt
        prepared: list[list[int] | ValueError] = []
        for document, encoded in zip(documents, self.tokenizer.attempt(documents), strict=True):
            if isinstance(encoded, ValueError):
                prepared.append(encoded)
                continue
            ids = self.tokenizer.begin(encoded[0], document).tolist()
            fits = len(ids) <= most
            prepared.append(ids if fits else ValueError(f"prompt too long: {len(ids)} tokens of {most}"))
        return in_batches(prepared, len, lambda row: None, self._batch_size, self._ask)

    def _chosen(self, request: Request) -> Answer:
        began = time.monotonic()
        try:
            found = self.generator.likelihoods(self.prompt(request), request.choices)
        except ValueError as error:
            return Answer(error=str(error))
        best = max(range(len(found)), key=lambda number: found[number])
        if found.count(found[best]) > 1:
            return Answer(error="the answers are equally likely")
        return Answer(request.choices[best], seconds=time.monotonic() - began)

    def prompt(self, request: Request) -> list[Span]:
        """What the model is asked."""
        tokenizer, style, form = self.tokenizer, prompts.STYLES[self._style], request.form or self.form
        source, target, units = request.source, request.target, request.row.units
        if request.skill == "instruct":
            return prompts.chat([Turn(request.text)], markup=tokenizer.chat)
        if request.skill == "mt":
            return written(tokenizer, request.text, source, target, form, style, request.shots)
        assert units is not None
        if request.skill == "turns":
            return in_turns(tokenizer, units, request.text, source, target, style)
        return spoken(tokenizer, units, source, target if request.skill == "st" else "", form, style)

    def asked(self, request: Request) -> str:
        """See `System`."""
        shots = f" {len(request.shots)} shots" if request.shots and (request.form or self.form) == "cpt" else ""
        return f"{self._style} {request.form or self.form}{shots}"

    def _ask(self, rows: list[int], ids: list[list[int]]) -> list[tuple[str, int]]:
        import numpy as np

        made = self.generator.continued([np.asarray(each, np.int32) for each in ids], self._beams)
        # a token may hold the end of a line and more, such as ".\n", and then it is no stop
        return [(self.tokenizer.decode(answer).partition("\n")[0].strip(), len(answer)) for answer in made]


def load(model: EvaluatedModel, settings: GenerationSettings) -> LanguageModel:
    """See `SystemKind.load`."""
    from spire_ray.inference.generate import EngineGenerator

    check(model, ())
    device = "cuda" if settings.gpus_per_worker else "cpu"
    folder = references.local_model(model.model, f"models.{model.name}.model")
    generator = EngineGenerator.from_pretrained(
        folder, options(model)["engine"], device=device, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size
    )
    said = record.load(folder)
    style = "" if said and said.directions else settings.prompts
    at_once = settings.batch_size if generator.engine.name == PADDED else sys.maxsize  # others fill their places by themselves
    return LanguageModel(generator, model.format or None, at_once, style, beams(model))


def check(model: EvaluatedModel, wanted: Sequence[tuple[str, str, str]]) -> None:
    """See `SystemKind.check`."""
    engine = options(model)["engine"]
    if engine not in ENGINES:
        raise ValueError(f"models.{model.name}.options.engine={engine}{nearest(engine, ENGINES)}")
    if beams(model) > 1 and engine != PADDED:
        raise ValueError(f"models.{model.name}.options.engine={engine}: only {PADDED} searches by beams; leave it out")


SKILLS: tuple[Skill, ...] = ("asr", "st", "mt", "turns", "instruct")
OPTIONS = {"beams": "1", "engine": PADDED}
SYSTEMS.register("llm", SystemKind(load=load, skills=SKILLS, hears="units", chooses=True, options=OPTIONS, check=check))
