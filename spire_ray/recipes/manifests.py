"""A recipe → values of the Helm chart in `cluster/chart`: a RayJob for every step, its report, and the RayService."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import yaml

from spire_ray.core import references, storage
from spire_ray.recipes import plan, room, runner
from spire_ray.runtime import job
from spire_ray.settings import EvaluateSettings, FetchSettings, RecipeSettings, ScoreSettings, ServeSettings, StageSettings


class _Text(str):
    """Written as it is, line by line: Helm would read and write the numbers of a mapping in its own way."""


def _literal(dumper: yaml.SafeDumper, text: _Text) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")


yaml.SafeDumper.add_representer(_Text, _literal)
_NAME = re.compile(r"[^a-z0-9]+")


def values(recipe: RecipeSettings, shapes: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What the chart is to render, in the order in which it runs.

    `shapes` says of models that are not there which `config.json` they will have. Raises ValueError for a recipe whose outputs no
    other node would see, and for a model whose size nobody says.
    """
    if storage.is_local(recipe.root) and not recipe.root.startswith("/"):
        raise ValueError(f"root={recipe.root}: of this machine alone; name a folder that every pod sees, or s3://…")
    recipe = _everywhere(recipe)
    planned = runner.stages(recipe)
    jobs, service = [], {}
    for name, configuration in runner.configurations(recipe).items():
        settings = planned[name]
        need = room.of(name, planned, shapes)
        gpus = {"gpus": {**asdict(need), "gib": round(need.gib, 1)}} if need else {}
        if isinstance(settings, ServeSettings):
            least = max(2, settings.replicas)
            most = max(least, settings.max_replicas)
            configuration = {**configuration, "replicas": least, "max_replicas": most}  # one may go while it is rolled on
            service = {"config": json.dumps(configuration, ensure_ascii=False), "replicas": least, "maxReplicas": most, **gpus}
        else:
            jobs.append({"name": _short(name), "stage": settings.stage, "config": _text(configuration), **gpus})
    return {"run": _short(recipe.title), "jobs": [*jobs, *_reports(recipe, planned)], "service": service}


def written(found: Mapping[str, Any]) -> str:
    """Such values as YAML."""
    return yaml.safe_dump(dict(found), sort_keys=False, allow_unicode=True, width=130)


def given(recipe: RecipeSettings) -> list[str]:
    """`step.field=text` of what no step makes and the image does not bring: to be there before the first job."""
    planned = runner.stages(_everywhere(recipe))
    fetched = [(name, settings) for name, settings in planned.items() if isinstance(settings, FetchSettings)]
    copies = [f"{name}.local.{corpus}={copy}" for name, settings in fetched for corpus, copy in settings.local.items()]
    return copies + [
        f"{name}.{setting.key}={setting.value}"
        for name, settings in planned.items()
        for setting, where in job.inputs(settings)
        if any(not plan.maker_of(each, planned) for each in storage.alternatives(str(setting.value)))
        and not (where == references.FOUND and storage.is_local(str(setting.value)) and not str(setting.value).startswith("/"))
    ]


def _text(configuration: Mapping[str, Any]) -> _Text:
    return _Text(yaml.safe_dump(dict(configuration), sort_keys=False, allow_unicode=True, width=130))


def _everywhere(recipe: RecipeSettings) -> RecipeSettings:
    """The recipe with what pods need to be told: the root that they share, and that audio lies below it."""
    shared = recipe.storage.shared_root or (recipe.root if storage.is_local(recipe.root) else "")
    roots = recipe.storage.roots or tuple(dict.fromkeys(filter(None, (shared, recipe.root if not shared else ""))))
    return replace(recipe, storage=replace(recipe.storage, shared_root=shared, roots=roots))


def _reports(recipe: RecipeSettings, planned: dict[str, StageSettings]) -> list[dict[str, Any]]:
    """The recipe's own report, or that of its evaluations."""
    if recipe.report:
        data = {"stage": "run", "title": recipe.title, "root": recipe.root, "report": recipe.report}
        steps = [
            {"name": name, "settings": settings}
            for name, settings in runner.configurations(recipe).items()
            if settings["stage"] != "serve"
        ]
        return [{"name": "report", "stage": "run", "config": _text({**data, "steps": steps})}]
    kinds = EvaluateSettings, ScoreSettings
    folders = [settings.output for settings in planned.values() if isinstance(settings, kinds)]
    arguments = [*folders, "--to", storage.join(recipe.root, "report")]
    return [{"name": "report", "stage": "report", "arguments": arguments}] if folders else []


def _short(name: str) -> str:
    """A name that Kubernetes allows."""
    return _NAME.sub("-", name.lower()).strip("-")
