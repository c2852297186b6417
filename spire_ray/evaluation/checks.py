"""What cannot be asked, or not of this model, is refused before anything is loaded."""

import re
from collections.abc import Sequence

from spire_ray.core import references, storage
from spire_ray.evaluation import protocols, test_set
from spire_ray.evaluation.asking import tasks_of
from spire_ray.evaluation.systems import SYSTEMS, options
from spire_ray.evaluation.tasks import TASKS
from spire_ray.evaluation.test_set import Row
from spire_ray.model import license
from spire_ray.settings import EvaluatedModel, GenerationSettings
from spire_ray.text import record
from spire_ray.text.languages import language
from spire_ray.text.prompts import STYLES
from spire_ray.units.fingerprint import FINGERPRINT_FILE, Fingerprint

_NAME = re.compile(r"\w[\w+.-]*")


def models(settings: GenerationSettings) -> None:
    """Raise ValueError for models, systems and tasks that do not fit each other, as far as the settings and folders say it."""
    for code in filter(None, (settings.target_language, settings.source_language)):
        language(code)
    if settings.prompts:
        STYLES[settings.prompts]
    names = [model.name for model in settings.models]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"models.{twice[0]}: two models of this name; each needs its own")
    for model in settings.models:
        if not _NAME.fullmatch(model.name) or not model.tasks:
            raise ValueError(f"models.{model.name}: needs a name of letters, digits, + - _ and dots, and at least one task")
        _system(model)
        _transcripts(model, settings.models)
        if model.system == "llm":
            _forms(model, settings.prompts)


def _system(model: EvaluatedModel) -> None:
    kind = SYSTEMS[model.system]
    options(model)
    if kind.weights != bool(model.model):
        takes = "needs a `model`, a folder or an id of the Hub" if kind.weights else "takes no `model`, but `options`"
        raise ValueError(f"models.{model.name}.model={model.model}: a system of the kind {model.system} {takes}")
    if model.format and model.system != "llm":
        raise ValueError(f"models.{model.name}.format={model.format}: of language models alone; leave it out")
    for task in tasks_of(model):
        unable = TASKS[task].kind == "choice" and not kind.chooses
        if unable or TASKS[task].skill not in kind.skills or ("another" in TASKS[task].needs and kind.hears != "units"):
            raise ValueError(
                f"models.{model.name}.tasks: {task} is nothing for {model.system}, which does {', '.join(kind.skills)}"
            )


def _transcripts(model: EvaluatedModel, others: Sequence[EvaluatedModel]) -> None:
    if not model.transcripts:
        return
    field = f"models.{model.name}.transcripts={model.transcripts}"
    if not any(other.name == model.transcripts and "asr" in tasks_of(other) for other in others):
        raise ValueError(f"{field}: no model of this name is asked asr here; add it to `models`")
    if "asr" in model.tasks or "st_multiturn" in model.tasks or "st_cascade" not in model.tasks:
        raise ValueError(f"{field}: is for st_cascade; give what it says by itself another entry of `models`")


def _forms(model: EvaluatedModel, style: str) -> None:
    said = record.load(model.model)
    if said and said.directions and model.format not in ("", said.form):
        raise ValueError(
            f"models.{model.name}.format={model.format}: {model.model} says that it is asked as {said.form}; leave it out"
        )
    if said and said.directions and style not in ("", said.prompts):
        raise ValueError(f"prompts={style}: {model.model} says that it was trained with {said.prompts}; leave it out")
    form = model.format or (said.form if said else "")
    for task in tasks_of(model):
        if form and form not in TASKS[task].forms:
            forms = " or ".join(TASKS[task].forms)
            raise ValueError(f"models.{model.name}.tasks: {task} is asked in the form {forms}, and {model.model} in {form}")


def untrained(model: EvaluatedModel, sources: Sequence[str], target: str) -> str:
    """Which of its tasks a model was not trained to do, in words; empty for none, and where nothing is known of it."""
    said = record.load(model.model) if model.system == "llm" else None
    beyond = [
        task
        for task in model.tasks
        if said
        and said.directions
        and any(TASKS[task].direction.format(source=code, target=target) not in said.directions for code in sources)
    ]
    return f"; was not trained to do {', '.join(beyond)}" if beyond else ""


def read(settings: GenerationSettings) -> list[Row]:
    """The rows of the test set, with what the models need of them."""
    tasks = {(model.system, task) for model in settings.models for task in tasks_of(model)}
    audio = any(SYSTEMS[system].hears == "audio" and "speech" in TASKS[task].needs for system, task in tasks)
    extra = any({"tags", "draft", "contrast"} & set(TASKS[task].needs) for _, task in tasks)
    return test_set.rows(settings, audio=audio, extra=extra)


def rows(settings: GenerationSettings) -> list[Row]:
    """The rows of the test set. Raises ValueError for what cannot be asked of them, before anything is."""
    protocols.require(settings)
    found = read(settings)
    sources, target = sorted({row.language for row in found}), language(settings.target_language).code
    for model in settings.models:
        if note := untrained(model, sources, target):
            print(f"  {model.name}{note}")
        kind = SYSTEMS[model.system]
        wanted = []
        for task in model.tasks:
            lacking = [TASKS[task].lacks(row, kind.hears) for row in found]
            if all(lacking):
                why = " and ".join(sorted(set(lacking))) + (f" into {target}" if "no translation" in lacking else "")
                raise ValueError(f"models.{model.name}.tasks: {task}: of {len(found)} rows of {settings.data} each has {why}")
            wanted += [(TASKS[task].skill, code, target) for code in sources]
        kind.check(model, list(dict.fromkeys(wanted)))
        if kind.weights:
            license.check(model.model, settings.license.accept, otherwise=kind.license)
        if kind.hears == "units":
            _units(model, settings.data)
    return found


def _units(model: EvaluatedModel, data: str) -> None:
    """Raise ValueError for a model without unit tokens that is asked about speech, and for units that mean others to it."""
    speech = [task for task in tasks_of(model) if {"speech", "another"} & set(TASKS[task].needs)]
    if not speech:
        return
    said = record.load(model.model)
    if said is None and not storage.exists(model.model) and references.is_hub_id(model.model):
        return  # on the Hub: known once it is here
    units = said.units if said else None
    if units is None:
        raise ValueError(f"models.{model.name}.tasks: {', '.join(speech)} need a model with unit tokens")
    made = Fingerprint.from_dict(storage.read_json(storage.join(data, FINGERPRINT_FILE)))
    units.fingerprint.require(made, model.model, data)
