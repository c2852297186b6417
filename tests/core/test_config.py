"""Configurations: what is wrong is named, with the fix, before anything starts."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from spire_ray.core import config
from spire_ray.recipes import runner
from spire_ray.settings import OptimizerSettings, PackSettings, TrainSettings

TRAIN = {
    "stage": "cpt",
    "output": "{root}/cpt",
    "model": "{root}/model",
    "pack": "{root}/pack",
    "deepspeed": "zero1.json",
    "training": {"steps": 10, "global_batch_size": 8, "optimizer": {"lr": 3e-4}},
}
PACK = {
    "stage": "pack",
    "output": "out",
    "model": "m",
    "sources": [{"task": "asr", "data": "u"}, {"task": "mt", "data": "t", "target_language": "de"}],
}
LABEL = {"stage": "label", "output": "out", "manifest": "m", "codebook": "c"}
FIT = {"stage": "fit_codebook", "output": "out", "manifest": "m"}


def write(folder, data):
    path = folder / "config.yaml"
    path.write_text(data if isinstance(data, str) else json.dumps(data))  # JSON is YAML
    return str(path)


def test_a_configuration_becomes_the_settings_of_its_stage(tmp_path):
    settings = config.load(write(tmp_path, TRAIN))
    assert isinstance(settings, TrainSettings)
    assert settings.training.optimizer == OptimizerSettings(lr=3e-4)
    assert settings.training.global_batch_size == 8
    assert config.load(write(tmp_path, PACK)).sources[1].target_language == "de"


def test_root_stands_in_every_path(tmp_path):
    path = write(tmp_path, TRAIN)
    assert config.load(path).model == "runs/model"
    assert config.load(path, ["root=/data/x"]).output == "/data/x/cpt"
    assert config.load(path, ["root=/d", "pack={root}/other"]).pack == "/d/other"
    assert config.load(path, ["root=/d", "pack={root}"]).pack == "/d"
    listed = {**PACK, "root": "r", "sources": [{"task": "asr", "data": "{root}/u"}]}
    assert config.load(write(tmp_path, listed)).sources[0].data == "r/u"


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("training.optimizer.lr=1e-4", "training.optimizer.lr", 1e-4),
        ("training.optimizer.lr=2.5E-05", "training.optimizer.lr", 2.5e-5),
        ("training.steps=200", "training.steps", 200),
        ("training.steps=1e3", "training.steps", 1000),
        ("training.gradient_checkpointing=full", "training.gradient_checkpointing", "full"),
        ("training.compile=true", "training.compile", True),
        ("training.optimizer.betas=[0.9, 0.95]", "training.optimizer.betas", (0.9, 0.95)),
        ("training.optimizer.betas=[9e-1, 0.95]", "training.optimizer.betas", (0.9, 0.95)),
        ("workers=4", "workers", 4),
        ("tracking.run_name=a=b", "tracking.run_name", "a=b"),
        ("tracking.experiment=deep", "tracking.experiment", "deep"),
        ("license.accept=[cc-by-nc-4.0]", "license.accept", ("cc-by-nc-4.0",)),
    ],
)
def test_overrides_are_dotted_and_typed(tmp_path, override, key, value):
    settings = config.load(write(tmp_path, TRAIN), [override])
    for name in key.split("."):
        settings = getattr(settings, name)
    assert settings == value
    assert type(settings) is type(value)


def test_overrides_may_come_as_a_mapping(tmp_path):
    settings = config.load(write(tmp_path, TRAIN), {"training.steps": 7, "training.optimizer.lr": "1e-4"})
    assert (settings.training.steps, settings.training.optimizer.lr) == (7, 1e-4)


def test_a_rate_written_as_1e_4_in_a_file_is_a_number(tmp_path):
    training = "{steps: 1, global_batch_size: 1, optimizer: {lr: 1e-4}}"
    text = f"stage: cpt\noutput: o\nmodel: m\npack: p\ndeepspeed: d\ntraining: {training}\n"
    assert config.load(write(tmp_path, text)).training.optimizer.lr == 1e-4


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("training.optimizer.learning_rate=1", "unknown key training.optimizer.learning_rate: known are name, lr"),
        ("training.stepps=1", "unknown key training.stepps: did you mean steps?"),
        ("modle=x", "unknown key modle: did you mean model?"),
        ("gpu.memory=24", "unknown key gpu.memory: did you mean memory_gb?"),
        ("training.steps=many", "training.steps='many': "),
        ("training.steps=1.5", "training.steps=1.5: "),
        ("training.optimizer.name=sgd", "training.optimizer.name='sgd': .*'adamw' or 'muon'"),
        ("training.optimizer.betas=0.9", "training.optimizer.betas=0.9: "),
        ("training=5", "training=5: "),
        ("training.optimizer.betas=[0.9", r"training.optimizer.betas='\[0.9': "),
        ("training.steps=-1", "training.steps=-1: .*greater than or equal to 1"),
        ("training.global_batch_size=-1", "training.global_batch_size=-1: .*greater than or equal to 0"),
        ("training.optimizer.lr=0", "training.optimizer.lr=0: .*greater than 0"),
        ("training.optimizer.decay_share=1.5", "training.optimizer.decay_share=1.5: .*less than or equal to 1"),
        ("workers=0", "workers=0: .*greater than or equal to 1"),
        ("training.steps=[e", r"training.steps='\[e': "),
        ("training.steps.more=5", "override training.steps.more: steps is not a group of settings"),
        ("steps", "override 'steps': expected key=value, such as training.steps=100"),
        ("=5", "unknown key : "),
    ],
)
def test_a_wrong_override_is_named_with_what_is_expected(tmp_path, override, reason):
    path = write(tmp_path, TRAIN)
    with pytest.raises(ValueError, match=reason) as error:
        config.load(path, [override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({**PACK, "sources": [{"task": "asr", "data": "u", "weight": 0}]}, "sources.0.weight=0: .*greater than 0"),
        ({**FIT, "weights": {"a": 0.0}}, "weights.a=0.0: .*greater than 0"),
        ({**LABEL, "shard_seconds": -5}, "shard_seconds=-5: .*greater than 0"),
        ({**FIT, "clusters": 0}, "clusters=0: .*greater than or equal to 1"),
    ],
)
def test_a_number_that_cannot_be_is_refused_wherever_it_stands(tmp_path, data, reason):
    with pytest.raises(ValueError, match=reason):
        config.load(write(tmp_path, data))


def test_keys_of_listed_groups_are_checked_too(tmp_path):
    wrong = {**PACK, "sources": [PACK["sources"][0], {"task": "asr", "data": "u", "wieght": 2}]}
    with pytest.raises(ValueError, match=r"unknown key sources\.1\.wieght: did you mean weight\?"):
        config.load(write(tmp_path, wrong))
    wrong = {**PACK, "sources": [{"task": "tts", "data": "u"}]}
    with pytest.raises(ValueError, match=r"sources\.0\.task='tts': .*'asr'"):
        config.load(write(tmp_path, wrong))


def test_a_key_that_yaml_does_not_read_as_text_is_named(tmp_path):
    text = "stage: pack\noutput: o\nmodel: m\nsources: []\non: 3\n"
    with pytest.raises(ValueError, match="unknown key True: known are stage"):
        config.load(write(tmp_path, text))


def test_a_missing_field_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"config\.yaml: pack: Field required"):
        config.load(write(tmp_path, {key: value for key, value in TRAIN.items() if key != "pack"}))


def test_several_faults_are_counted(tmp_path):
    with pytest.raises(ValueError, match=r"\(and 1 more\)$"):
        config.load(write(tmp_path, TRAIN), ["training.steps=x", "training.global_batch_size=y"])


def test_a_configuration_of_another_stage_is_refused(tmp_path):
    path = write(tmp_path, TRAIN)
    assert config.load(path, stage="cpt").stage == "cpt"
    with pytest.raises(ValueError, match="is a configuration of the stage cpt, not of it"):
        config.load(path, stage="it")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("stage: extend_modle\noutput: x\n", "stage='extend_modle': did you mean extend_model?"),
        ("stage: [pack]\noutput: x\n", r"stage=\['pack'\]: did you mean pack"),
        ("output: x\n", "must be a mapping that starts with `stage:`"),
        ("- stage\n", "must be a mapping that starts with `stage:`"),
        ("", "must be a mapping that starts with `stage:`"),
        ("stage: [\n", "not YAML: while parsing"),
        ("\x00", "not YAML: "),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_in_one_line(tmp_path, text, reason):
    with pytest.raises(ValueError, match=reason) as error:
        config.load(write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"config=.*absent\.yaml: no such file"):
        config.load(str(tmp_path / "absent.yaml"))


def test_where_and_with_what_a_stage_runs_is_no_part_of_its_identity(tmp_path):
    path = write(tmp_path, TRAIN)
    identity = config.identity(config.load(path))
    elsewhere = ["workers=8", "tracking.experiment=x", "output=/y", "storage.shared_root=/s"]
    assert config.identity(config.load(path, elsewhere)) == identity
    assert config.identity(config.load(path, ["training.steps=11"])) != identity
    assert config.identity(config.load(path, ["pack=other"])) != identity


def test_the_difference_of_two_configurations_names_key_and_values(tmp_path):
    path = write(tmp_path, TRAIN)
    one, other = (config.to_dict(config.load(path, o)) for o in ([], ["training.steps=11", "training.optimizer.lr=1e-5"]))
    assert config.difference(one, other) == "training.optimizer.lr: 0.0003 → 1e-05; training.steps: 10 → 11"
    assert config.difference(one, one) == ""


def test_settings_survive_json(tmp_path):
    settings = config.load(write(tmp_path, PACK))
    assert isinstance(settings, PackSettings)
    assert config.validate(config.to_dict(settings)) == settings


FILES = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))
CONFIGS = [path for path in FILES if "stage" in yaml.safe_load(path.read_text())]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_configuration_that_comes_along_is_valid(path):
    if yaml.safe_load(path.read_text())["stage"] == "run":
        steps = runner.stages(runner.load(str(path), []))
        assert steps
        assert all(config.validate(config.to_dict(settings)) == settings for settings in steps.values())
    else:
        settings = config.load(str(path))
        assert config.validate(config.to_dict(settings)) == settings


def test_settings_cannot_be_changed(tmp_path):
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.load(write(tmp_path, TRAIN)).training.steps = 5


def test_the_seed_of_a_recipe_reaches_every_step_that_takes_one():
    path = str(next(path for path in CONFIGS if path.name == "quickstart.yaml"))
    own, seeded = (runner.stages(runner.load(path, overrides)) for overrides in ([], ["seed=7"]))
    found = {}
    for name, settings in seeded.items():
        flat = config.flatten(config.to_dict(settings))
        found[name] = [value for key, value in flat.items() if key.split(".")[-1] == "seed"]
    assert {"corpus", "codebook", "base.train", "pack.cpt", "it.train"} <= {name for name, seeds in found.items() if seeds}
    assert {seed for seeds in found.values() for seed in seeds} == {7}
    assert own["extend"].seed == 42


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/data/set #2/m.jsonl", "/data/set #2/m.jsonl"),
        ("20241127", "20241127"),
        ("1e5", "1e5"),
        ("no", "no"),
        ("~/m.jsonl", str(Path.home() / "m.jsonl")),
        ("'a b'", "a b"),
        ("{root}/m", "r/m"),
    ],
)
def test_a_text_is_taken_as_it_is_written(text, value, tmp_path):
    (tmp_path / "c.yaml").write_text("{stage: label, root: r, manifest: m, codebook: c, output: o}")
    settings = config.load(str(tmp_path / "c.yaml"), [f"manifest={text}", f"columns.text={text}", f"tracking.run_name={text}"])
    assert (settings.manifest, settings.columns["text"], settings.tracking.run_name) == (value, value, value)
    assert config.load(str(tmp_path / "c.yaml"), ["root=20241127"]).root == "20241127"
    assert config.load(str(tmp_path / "c.yaml"), ["batch_seconds=1e2", "units.strict=true"]).batch_seconds == 100.0
