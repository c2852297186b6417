"""From `spire data fetch` to a served SPIRE: every input is made by a step before, or is named as given."""

from pathlib import Path

import pytest
import yaml

from spire_ray.core import config, storage
from spire_ray.core.fields import fields
from spire_ray.corpora import fetch
from spire_ray.recipes import plan, runner

ROOT = Path(__file__).parents[2]
SPIRE = ROOT / "configs" / "spire"
HOME = "/mnt/spire/spire"
RECIPES = ("units", "spire_base", "spire_full", "spire_no_blocks", "spire_no_pseudo", "tower_full")
GIVEN = {"/mnt/spire/comet/bin/python", "Unbabel/wmt22-cometkiwi-da"}
"""An environment of one's own with COMET, and the model that it fetches by itself; both are in docs/data.md."""


def fetched():
    """What the two data recipes leave behind, in the folders that their first lines name."""
    for name in ("data", "evaluation"):
        place = f"{HOME}/corpora" + ("/evaluation" if name == "evaluation" else "")
        assert f"spire data fetch configs/spire/{name}.yaml --to {place}`" in (SPIRE / f"{name}.yaml").read_text()
        recipe = fetch.load(str(SPIRE / f"{name}.yaml"))
        yield from (f"{place}/{corpus}" for corpus in recipe.corpora)
        yield from (f"{place}/models/{model.rpartition('/')[2]}" for model in recipe.models)


def road():
    """(step, settings) of all that is run, in order."""
    for name in RECIPES:
        yield from runner.stages(runner.load(str(SPIRE / f"{name}.yaml"), [])).items()
    for name in ("evaluate", "serve"):
        yield name, config.load(str(SPIRE / f"{name}.yaml"), (), name)


def test_every_input_of_the_road_is_made_by_an_earlier_step_or_given(monkeypatch):
    monkeypatch.chdir(ROOT)
    there, made = {*fetched(), *GIVEN}, {}
    for name, settings in road():
        for field in fields(settings):
            if not field.reference or not field.value:
                continue
            for place in storage.alternatives(str(field.value)):
                comes = place in there or bool(plan.maker_of(place, made)) or (not place.startswith("/") and Path(place).exists())
                assert comes, f"{name}: {field.key}={place}: nothing makes it"
        made[name] = settings


def test_no_configuration_of_spire_is_off_the_road():
    used = {step["config"] for name in RECIPES for step in yaml.safe_load((SPIRE / f"{name}.yaml").read_text())["steps"]}
    used |= {f"{name}.yaml" for name in (*RECIPES, "data", "evaluation", "evaluate", "serve")}
    assert used == {path.name for path in SPIRE.glob("*.yaml")}


def test_what_the_packs_and_the_test_set_read_is_labelled_of_the_corpus_of_its_name():
    steps = runner.stages(runner.load(str(SPIRE / "units.yaml"), []))
    for settings in steps.values():
        if settings.stage == "label":
            assert (
                settings.output.replace("/units/test/", "/corpora/evaluation/").replace("/units/", "/corpora/")
                == settings.manifest
            )
        elif settings.stage == "pseudo_label":
            assert settings.output == settings.data.replace("/units/", "/units/pseudo/")


def test_of_several_folders_in_braces_each_has_its_maker_or_is_missing_by_name(tmp_path):
    config_of = {"stage": "label", "codebook": str(tmp_path), "manifest": "{root}/made", "output": "{root}/units"}
    recipe = {"stage": "run", "title": "t", "root": str(tmp_path / "runs"), "steps": []}
    for name, manifest in (("a", str(tmp_path)), ("b", str(tmp_path)), ("both", "{root}/{a,b}"), ("more", "{root}/{a,c}")):
        step = {**config_of, "manifest": manifest, "output": f"{{root}}/{name}"}
        recipe["steps"].append({"name": name, "settings": step})
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    planned = runner.stages(runner.load(str(tmp_path / "r.yaml"), []))
    assert plan.needs("both", planned) == {"a", "b"}
    assert plan.absent(planned) == [f"more.manifest={tmp_path}/runs/{{a,c}}"]
    with pytest.raises(ValueError, match=r"more\.manifest=.*: not found, and no step makes it"):
        runner.run(runner.load(str(tmp_path / "r.yaml"), []))
