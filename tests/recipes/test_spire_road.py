"""From corpora to a served SPIRE: every input is made by a step before, or is named as given."""

import json
import os
from pathlib import Path

import pytest
import yaml

from spire_ray.core import storage
from spire_ray.core.fields import fields
from spire_ray.core.provenance import Output
from spire_ray.recipes import plan, runner

ROOT = Path(__file__).parents[2]
SPIRE = ROOT / "configs" / "spire"
VARIANTS = ("spire_no_blocks", "spire_no_pseudo", "tower_full")
RECIPES = ("spire", "units", "spire_base", "spire_full", *VARIANTS)
GIVEN = {"/mnt/spire/comet/bin/python", "Unbabel/wmt22-cometkiwi-da"}
"""An environment of one's own with COMET, and the model that it fetches by itself; both are in docs/data.md."""


def road():
    """(step, settings) of all that is run, in order."""
    for name in ("spire", *VARIANTS):
        yield from runner.stages(runner.load(str(SPIRE / f"{name}.yaml"), [])).items()


def fetched(settings):
    """What a step of the stage fetch leaves behind."""
    yield from (f"{settings.output}/{corpus}" for corpus in settings.corpora)
    yield from (f"{settings.output}/models/{model.rpartition('/')[2]}" for model in settings.models)


def test_every_input_of_the_road_is_made_by_an_earlier_step_or_given(monkeypatch):
    monkeypatch.chdir(ROOT)
    there, made = {*GIVEN}, {}
    for name, settings in road():
        if settings.stage == "fetch":
            there.update(fetched(settings))
            continue
        for field in fields(settings):
            if not field.reference or not field.value:
                continue
            for place in storage.alternatives(str(field.value)):
                comes = place in there or bool(plan.maker_of(place, made)) or (not place.startswith("/") and Path(place).exists())
                assert comes, f"{name}: {field.key}={place}: nothing makes it"
        made[name] = settings


def test_no_configuration_of_spire_is_off_the_road():
    steps = [step for name in RECIPES for step in yaml.safe_load((SPIRE / f"{name}.yaml").read_text())["steps"]]
    used = {step.get("config") or step["recipe"] for step in steps} | {f"{name}.yaml" for name in ("spire", *VARIANTS)}
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


def test_a_recipe_among_the_steps_brings_its_steps_with_its_variables_and_the_places_of_its_files(tmp_path):
    (tmp_path / "inner").mkdir()
    pack = {"stage": "export", "output": "{root}/{what}/model", "training": "{root}/train"}
    (tmp_path / "inner" / "export.yaml").write_text(yaml.safe_dump(pack))
    inner = {"stage": "run", "title": "inner", "variables": {"what": "mine"}, "steps": [{"name": "a", "config": "export.yaml"}]}
    inner["steps"][0]["overrides"] = {"training": "{root}/{what}/train"}
    (tmp_path / "inner" / "r.yaml").write_text(yaml.safe_dump(inner))
    outer = {"stage": "run", "title": "outer", "root": "here", "steps": [{"recipe": "inner/r.yaml"}]}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(outer))
    [settings] = runner.stages(runner.load(str(tmp_path / "r.yaml"), ["a.dtype=float32"])).values()
    assert (settings.output, settings.training, settings.dtype) == ("here/mine/model", "here/mine/train", "float32")


def test_a_recipe_of_recipes_is_extended_from_another_folder_and_its_steps_are_overridden_by_name(tmp_path):
    theirs = os.path.relpath(SPIRE / "spire.yaml", tmp_path)
    mine = {"stage": "run", "extends": theirs, "root": "/mnt/mine", "overrides": {"cpt.train": {"training.seed": 7}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    recipe = runner.load(str(tmp_path / "mine.yaml"), ["serve.max_replicas=3"])
    assert (recipe.title, recipe.root) == ("spire", "/mnt/mine")
    changed, usual = runner.stages(recipe), runner.stages(runner.load(str(SPIRE / "spire.yaml"), ["root=/mnt/mine"]))
    assert (changed["cpt.train"].training.seed, changed["serve"].max_replicas) == (7, 3)
    assert [name for name in usual if usual[name] != changed[name]] == ["cpt.train", "serve"] and list(usual) == list(changed)
    for wrong, words in (({"overrides": {"cpt": {"seed": 7}}}, "overrides of unknown steps cpt"), ({"steps": [{}]}, "a `name`")):
        (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(mine | wrong))
        with pytest.raises(ValueError, match=words):
            runner.load(str(tmp_path / "wrong.yaml"), [])


def test_a_recipe_whose_steps_were_run_one_by_one_has_a_record_of_them_and_a_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "their_report.py").write_text(
        "from spire_ray.core import storage\nfrom spire_ray.recipes.report import Written\n"
        'def write(root):\n    return Written(f\'took {storage.read_json(root + "/recipe.json")["total"]} s\')\n'
    )
    step = {"name": "a", "settings": {"stage": "export", "output": "{root}/model", "training": "{root}/train"}}
    recipe = {"stage": "run", "title": "t", "root": str(tmp_path / "r"), "report": "their_report", "steps": [step]}
    loaded = runner.load(json.dumps(recipe), [])
    [settings] = runner.stages(loaded).values()
    made = Output.open(settings)
    made.begin(settings)
    made.finish(seconds=12.5)
    (tmp_path / "r" / "train").mkdir()
    runner.run(loaded)
    assert "took 12.5 s" in capsys.readouterr().out
    assert storage.read_json(str(tmp_path / "r" / "recipe.json"))["steps"] == {"a": 12.5}


def test_what_a_recipe_says_of_storage_and_licenses_holds_for_steps_that_say_nothing_else():
    settings = {"stage": "export", "output": "{root}/model", "training": "{root}/train"}
    steps = [{"name": "a", "settings": settings}, {"name": "b", "settings": settings | {"storage": {"shared_root": "/other"}}}]
    said = {"storage": {"shared_root": "/s", "schemes": ["https"]}, "license": {"accept": ["cc-by-nc-4.0"]}, "wait_minutes": 5}
    recipe = {"stage": "run", "title": "t", "root": "/s/t", **said, "steps": steps}
    one, other = runner.stages(runner.load(json.dumps(recipe), [])).values()
    assert (one.storage.shared_root, one.storage.schemes) == ("/s", ("https",))
    assert (one.license.accept, one.wait_minutes) == (("cc-by-nc-4.0",), 5)
    assert (other.storage.shared_root, other.storage.schemes) == ("/other", ("https",))
