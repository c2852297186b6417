"""The dry run of a recipe: the plan of every step, and where each input comes from."""

from collections.abc import Iterator, Mapping

from spire_ray.core import references, storage
from spire_ray.core.fields import fields
from spire_ray.core.stage import STAGES
from spire_ray.runtime import job
from spire_ray.settings import StageSettings


def lines(planned: dict[str, StageSettings]) -> Iterator[str]:
    """What a dry run prints of the steps. Raises ValueError, with the step, for what cannot work."""
    with storage.unasked():
        for name, settings in planned.items():
            yield f"{name}: {settings.stage} → {settings.output}"
            for setting, where in job.inputs(settings):
                makers = dict.fromkeys(maker_of(each, planned) for each in storage.alternatives(str(setting.value)))
                comes = f"made by {', '.join(makers)}" if all(makers) else where
                yield f"    {setting.key}: {setting.value} ({comes})"
            try:
                yield from (f"    {line}" for line in STAGES[settings.stage].plan(settings))
            except ValueError as error:
                raise ValueError(f"step {name}: {error}") from None


def absent(planned: dict[str, StageSettings]) -> list[str]:
    """Inputs that no step makes and that are not there: `step.field=text`."""
    return [
        f"{name}.{setting.key}={setting.value}"
        for name, settings in planned.items()
        for setting, where in job.inputs(settings)
        if where == references.ABSENT
        and any(
            not maker_of(each, planned) and not storage.exists(storage.first(each))
            for each in storage.alternatives(str(setting.value))
        )
    ]


def needs(name: str, planned: Mapping[str, StageSettings]) -> set[str]:
    """The steps whose output folders the settings of a step name."""
    given = [str(field.value) for field in fields(planned[name]) if field.reference]
    texts = [each for text in given for each in storage.alternatives(text)]
    return {maker for text in texts if (maker := maker_of(text, planned))} - {name}


def maker_of(text: str, planned: Mapping[str, StageSettings]) -> str:
    """The step whose output folder a text names, or one below it; empty for none."""
    made = {other.output: name for name, other in planned.items() if text == other.output or text.startswith(f"{other.output}/")}
    return made[max(made, key=len)] if made else ""
