"""`spire plan`: what a recipe costs before it runs, and where every figure is from."""

import json
import re
import time
from pathlib import Path

import pytest
import yaml

from spire_ray.core.provenance import Output
from spire_ray.recipes import runner
from spire_ray.recipes.costs import amounts, hardware, prices, schedule, work
from spire_ray.tools import plan

ROOT = Path(__file__).parents[2]
QUICKSTART = "configs/quickstart/quickstart.yaml"
SPIRE = "configs/spire/spire.yaml"
TOOK = 279.0
"""Seconds of a quickstart on the quiet machine of configs/hardware/cpu2.yaml: 4 min 39 s in docs/quickstart.md."""


@pytest.fixture(autouse=True)
def checkout(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SPIRE_CACHE", str(tmp_path / "cache"))


def stages(path=QUICKSTART, *overrides, root="/nowhere/runs"):
    return runner.stages(runner.load(path, [f"root={root}", *overrides]))


def total(planned, machine, todo=None):
    costs = work.of(planned, machine)
    seconds, beside = schedule.wall(planned, costs, machine.cores, todo or list(planned))
    return seconds + machine["start.recipe"].value, beside


def test_the_quickstart_is_planned_within_a_fifth_of_what_it_takes_and_so_are_its_long_steps():
    planned = stages()
    seconds, beside = total(planned, hardware.load("cpu2"))
    assert seconds == pytest.approx(TOOK, rel=0.2)
    took = runner.load(QUICKSTART, []).seconds
    assert set(took) == set(planned)
    for name in (name for name in took if took[name] > 30):
        assert beside[name] == pytest.approx(took[name], rel=0.2), name


def test_what_it_counts_is_what_the_quickstart_made():
    made = amounts.of(stages())
    assert made["corpus"].rows == 6350 and made["corpus"].seconds / 3600 == pytest.approx(3.2161, rel=0.02)
    assert made["label"].units == pytest.approx(234_203, rel=0.05)
    assert made["cpt.train"].tokens == 1_443_840
    assert made["pack.it"].tokens == pytest.approx(1_714_035, rel=0.15)


@pytest.mark.parametrize("name", ["cpu2", "h100x8"])
def test_every_coefficient_says_how_it_was_found_by_whom_and_when(name):
    machine = hardware.load(name)
    for key, each in machine.coefficients.items():
        assert each.how in hardware.KINDS and each.value > 0 and re.fullmatch(r"\d{4}-\d\d-\d\d", each.date), key
        for file in re.findall(r"[\w/]+/[\w.]+\.(?:json|md|yaml|py)", each.source):
            assert (ROOT / file).is_file(), f"{key}: {file}"


def test_a_step_is_explained_by_products_with_their_sources(capsys):
    assert plan.main([QUICKSTART, "root=/nowhere", "--explain", "cpt.train", "--hardware", "cpu2"]) == 0
    told = capsys.readouterr().out
    first = float(re.search(r"cpt.train: ([\d.]+) s alone", told)[1])
    start = float(re.search(r"start: ([\d.]+) s \(measured: ", told)[1])
    seconds = float(re.search(r"= ([\d.]+) s, shared by 2 cores", told)[1])
    assert first == pytest.approx(start + seconds / 2, abs=0.2)
    assert plan.main([QUICKSTART, "--explain", "nothing"]) == 2


def test_twice_the_work_takes_twice_as_long_and_half_the_workers_as_well():
    machine = hardware.load("cpu2")
    start = machine["start.cpt"].value
    once = work.of(stages(), machine)["cpt.train"].seconds - start
    assert work.of(stages(QUICKSTART, "cpt.train.training.steps=940"), machine)["cpt.train"].seconds - start == pytest.approx(
        2 * once
    )
    assert work.of(stages(QUICKSTART, "cpt.train.workers=1"), machine)["cpt.train"].seconds - start == pytest.approx(2 * once)


def test_the_road_of_spire_has_the_hours_of_its_trainings_and_money_only_where_prices_are_given(tmp_path, capsys):
    assert plan.main([SPIRE]) == 0
    without = capsys.readouterr().out
    training = work.of(stages(SPIRE), hardware.load("h100x8"))["cpt.train"]
    machine = hardware.load("h100x8")["train"].value
    shape = 6.0 * 6.65e9 * 5000 * 1_179_648  # 6 N D
    assert (training.seconds - training.start.value) * 8 * machine == pytest.approx(shape, rel=0.06)
    assert training.gpu_hours == pytest.approx(8 * training.seconds / 3600)
    assert "EUR" not in without and re.search(
        r"^the whole road +[\d,.]+ +[\d.]+ (h|d) +[\d.]+ TB  [\d.]+ TB fetched", without, re.M
    )
    (tmp_path / "p.yaml").write_text("{currency: EUR, gpu_hour: 2.5}")
    assert plan.main([SPIRE, "--prices", str(tmp_path / "p.yaml")]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("cpt.train"))
    assert float(line.split()[-2].replace(",", "")) == pytest.approx(2.5 * training.gpu_hours, rel=1e-3)
    for text, words in (("{currency: EUR, gpu: 1}", "unknown key gpu"), ("{currency: EUR, gpu_hour: -1}", "gpu_hour=-1")):
        (tmp_path / "p.yaml").write_text(text)
        with pytest.raises(ValueError, match=words):
            prices.load(str(tmp_path / "p.yaml"))


def test_what_nobody_says_is_shown_as_not_known(capsys, tmp_path):
    step = {"stage": "label", "output": "{root}/units", "manifest": "their/audio", "codebook": "their/codebook"}
    recipe = {"stage": "run", "title": "t", "root": str(tmp_path), "steps": [{"name": "label", "settings": step}]}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    assert plan.main([str(tmp_path / "r.yaml"), "--hardware", "cpu2"]) == 0
    told = capsys.readouterr().out
    assert "not known, label: how much audio their/audio holds" in told and "≥ " in told
    assert plan.main([str(tmp_path / "r.yaml"), "--hardware", "cpu3"]) == 2
    assert "did you mean cpu2" in capsys.readouterr().err


def recipe(**steps):
    """The corpus of the quickstart, 6350 rows, 6000 of them to train and 250 to test on, and steps that read it."""
    corpus = {"name": "corpus", "settings": yaml.safe_load((ROOT / "configs/quickstart/corpus.yaml").read_text())}
    rest = [{"name": name, "settings": {"output": f"{{root}}/{name}", **said}} for name, said in steps.items()]
    return json.dumps({"stage": "run", "title": "t", "root": "/nowhere/r", "steps": [corpus, *rest]})


def label(manifest, **more):
    return {"stage": "label", "manifest": manifest, "codebook": "/nowhere/codebook", **more}


def test_what_is_prepared_or_distorted_is_as_much_as_its_manifest_and_copies_are_counted():
    conditions = ["noise=10.0", "babble=0", "speed=0.5"]
    steps = {
        "prepared": {"stage": "prepare", "manifest": "{root}/corpus"},
        "units": label("{root}/prepared"),
        "loud": {"stage": "distort", "data": "{root}/corpus", "conditions": conditions},
        "loud.units": label("{root}/loud/noise=10/manifest.jsonl"),
        "slow.units": label("{root}/loud/speed=0.5"),
        "copied": label("{root}/corpus", augment={"copies": ["babble=0..20", "room=0.3"], "share": 0.25}),
        "several": label("{root}/{corpus,prepared}"),
    }
    made = amounts.of(runner.stages(runner.load(recipe(**steps), [])))
    assert made["units"].seconds == made["corpus"].seconds and made["units"].units > 200_000
    assert made["loud"].rows == 3 * 250 and made["loud.units"].rows == 250
    assert made["loud.units"].seconds == pytest.approx(made["corpus"].seconds * 250 / 6350)
    assert made["slow.units"].seconds == pytest.approx(2 * made["loud.units"].seconds)
    assert made["copied"].rows == 6350 + 6000 / 2 and made["copied"].of("train").rows == 1.5 * 6000
    assert made["copied"].units / made["units"].units == pytest.approx(9350 / 6350)
    assert made["several"].rows == 2 * 6350 and made["several"].of("test").rows == 500


def test_a_step_that_nobody_has_measured_is_not_known_and_neither_is_what_reads_the_unknown(capsys):
    source = {"task": "asr", "data": "{root}/theirs"}
    steps = {
        "prepared": {"stage": "prepare", "manifest": "{root}/corpus"},
        "loud": {"stage": "distort", "data": "{root}/corpus"},
        "score": {"stage": "score", "hypotheses": "{root}/hypotheses"},
        "harness": {"stage": "harness", "models": [{"name": "m", "model": "m"}], "tasks": ["mmlu"], "gpus_per_worker": 1},
        "theirs": label("{root}/{prepared,elsewhere}"),
        "pack": {"stage": "pack", "model": "m", "sequence_length": 128, "sources": [source, {**source, "data": "{root}/corpus"}]},
    }
    assert plan.main([recipe(**steps), "--hardware", "h100x8"]) == 0
    told = capsys.readouterr().out
    for name in ("prepare", "distort", "harness"):
        step = {"prepare": "prepared", "distort": "loud"}.get(name, name)
        assert f"not known, {step}: how long {name} works; nobody has measured it" in told
    assert "not known, score: how many answers /nowhere/r/hypotheses holds" in told
    assert "not known, theirs: how much audio {root}/{prepared,elsewhere}".replace("{root}", "/nowhere/r") in told
    assert "not known, pack: how many rows a source has" in told and "not known, corpus" not in told
    assert re.search(r"^harness +\? +\?  ", told, re.M) and re.search(r"^the whole road +≥ [\d.]+ +≥ ", told, re.M)


def test_a_step_of_unknown_time_is_compared_with_nothing(tmp_path, capsys):
    text = recipe(prepared={"stage": "prepare", "manifest": "{root}/corpus"})
    for settings in runner.stages(runner.load(text, [f"root={tmp_path}"])).values():
        output = Output.open(settings)
        output.begin(settings)
        output.finish(seconds=17.0)
    assert plan.main([text, f"root={tmp_path}", "--hardware", "cpu2", "--compare"]) == 0
    assert re.search(r"^prepared +\? +17 s$", capsys.readouterr().out, re.M)


def test_what_is_left_is_told_apart_and_what_is_done_is_compared_with_the_plan(tmp_path, capsys):
    planned = stages(root=tmp_path)
    for name in ("corpus", "base.init"):
        output = Output.open(planned[name])
        output.begin(planned[name])
        output.finish(seconds=17.0)
    assert plan.main([QUICKSTART, f"root={tmp_path}", "--hardware", "cpu2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    whole, left = (next(line for line in lines if line.startswith(title)) for title in ("the whole road", "what is left"))
    assert float(left.split()[3]) < float(whole.split()[3])
    assert plan.main([QUICKSTART, f"root={tmp_path}", "--hardware", "cpu2", "--compare"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^corpus +1\d s +17 s +[+-]\d %$", told, re.M) and "14 of 16 steps have not ended" in told


def test_a_machine_of_half_the_speed_is_planned_at_twice_the_time():
    base = hardware.load("cpu2")
    slow = {name: value * 2 if name == "start" else value / 2 for name, value in base.probes.items()}
    hardware.kept().parent.mkdir(parents=True)
    kept = {"probes": slow, "cores": 2, "machine": "slow", "date": "2026-11-28"}
    hardware.kept().write_text(json.dumps(kept))
    machine = hardware.of("", stages())
    assert total(stages(), machine)[0] == pytest.approx(2 * total(stages(), base)[0], rel=0.02)
    assert "spire plan --measure on slow" in str(machine["train"])


@pytest.mark.long
def test_measuring_takes_a_minute_and_what_it_finds_is_kept(capsys):
    began = time.monotonic()
    assert plan.main([QUICKSTART, "root=/nowhere", "--measure"]) == 0
    assert time.monotonic() - began < 90 and "measured: start" in capsys.readouterr().out
    machine = hardware.of("", stages())
    assert "spire plan --measure on" in str(machine["train"]) and machine["train"].value > 1e9


def test_scoring_is_planned_by_answers_metrics_and_samples():
    machine = hardware.load("cpu2")
    models = [{"name": "m", "model": "{root}/it/model", "tasks": ["st_cascade"]}]
    steps = {
        "asked": {"stage": "generate", "data": "{root}/units", "split": "test", "models": models},
        "scored": {"stage": "score", "hypotheses": "{root}/asked", "bootstrap": 500},
        "both": {"stage": "evaluate", "data": "{root}/units", "split": "test", "models": models, "bootstrap": 500},
        "comet": {"stage": "score", "hypotheses": "{root}/asked", "metrics": ["wer", "bleu", "comet"]},
        "heard": {"stage": "evaluate", "data": "{root}/units", "models": [
            {"name": "w", "system": "whisper", "model": "{root}/w", "tasks": ["asr"]}]},
    }  # fmt: skip
    planned = stages(root="/nowhere/r") | runner.stages(runner.load(recipe(**steps), []))
    costs = work.of(planned, machine)
    amounts_of = {name: {item.what: item.amount for item in costs[name].items} for name in steps}
    rows = 250 * 3  # a transcript by one metric, and its translation by two
    assert amounts_of["scored"] == {"answers × metrics": rows, "answers × metrics × samples": rows * 500}
    assert amounts_of["both"].items() >= amounts_of["scored"].items() and costs["both"].made.rows == 500
    assert "translations through COMET, as XLM-R large" in amounts_of["comet"]
    assert costs["heard"].unknown == "how long whisper answers; nobody has measured it"
