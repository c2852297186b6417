"""The better of two systems, by several scores that other programs found, the best or any: the pipeline of 2026."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from spire_ray import cli
from spire_ray.core import config, storage, tables
from spire_ray.manifest.schema import UNITS
from spire_ray.pseudo_labels import labels
from spire_ray.pseudo_labels.scores import SCORES, Scorer
from spire_ray.settings import PseudoLabelSettings
from spire_ray.shards import marks, planning
from spire_ray.stages.pseudo_label import ChooseShard
from spire_ray.tools import audit

ROWS, IN_A_SHARD = 10, 4


@pytest.fixture
def data(tmp_path):
    (tmp_path / "units").mkdir()
    rows = [
        {"utt_id": f"u{n}", "text": f"dog {n}", "language": "en", "split": "train", "units": [n], "status": "labelled"}
        for n in range(ROWS)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=UNITS), tmp_path / "units" / "part-000000.parquet")
    return str(tmp_path / "units")


def system(folder, data, quality, blaser):
    """The output of a run whose translations have these scores, by row, and a folder of BLASER's."""
    settings = PseudoLabelSettings(output=str(folder), data=data, model=folder.name, languages=("de",), rows_per_shard=IN_A_SHARD)
    shards = labels.planned(settings)
    planning.write(settings.output, shards)
    for shard in shards:
        numbers = range(shard.first, shard.first + shard.rows)
        made = [
            {
                "utt_id": f"u{n}", "language": "en", "target_language": "de", "text": f"dog {n}", "system": folder.name,
                "translation": f"{folder.name} {n}" if quality(n) is not None else None, "score": quality(n), "scores": (),
                "error": None if quality(n) is not None else "empty translation",
            }
            for n in numbers
        ]  # fmt: skip
        labels.write(
            settings.output, shard.shard, made, marks.Translations(shard.rows, translations=shard.rows, digest=shard.digest)
        )
        scored = [{"utt_id": f"u{n}", "target_language": "de", "blaser2_mt": blaser(n)} for n in numbers]
        tables.write(f"{folder}.blaser/part-{shard.shard:06d}.parquet", pa.Table.from_pylist(scored))
    facts = {"licenses": {folder.name: "cc-by-nc-4.0"}}
    run = {"stage": "pseudo_label", "status": "complete", "id": folder.name, "facts": facts}
    storage.write_json(f"{folder}/run.json", {**run, "resolved": {"data": data, "split": "train"}})
    return {"labels": str(folder), "scores": [f"{folder}.blaser"]}


@pytest.fixture
def run(tmp_path, data):
    """A function that lets two systems compete under some quality; returns the exit status."""
    candidates = [
        system(tmp_path / "tower", data, lambda n: 0.9 - n / 100, lambda n: 4.0 + n / 10),
        system(tmp_path / "euro", data, lambda n: None if n == 9 else 0.86, lambda n: 4.9 - n / 10),
    ]

    def run(*options, **quality):
        config = {
            "stage": "pseudo_label", "output": str(tmp_path / "out"), "data": data, "candidates": candidates, "languages": ["de"],
            "rows_per_shard": IN_A_SHARD, "tracking": {"enabled": False}, "quality": quality,
        }  # fmt: skip
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
        return cli.main(["pseudo_label", "--config", str(tmp_path / "c.yaml"), *options])

    return run


def kept(tmp_path):
    rows = tables.read(str(tmp_path / "out")).to_pylist()
    return {int(row["utt_id"][1:]): dict(row["translations"])["de"].partition(" ")[0] for row in rows}


def test_the_better_system_is_taken_and_several_scores_filter(ray_session, run, tmp_path, capsys):
    assert run(minimum={"blaser2_mt": 4.25}) == 0
    # by quality the tower leads until 0.86 equals its own score; BLASER then drops what is below 4.25, and 0.81 is below 0.85
    assert kept(tmp_path) == {3: "tower", 4: "tower", 5: "euro", 6: "euro"}
    record = json.loads((tmp_path / "out" / "run.json").read_text())["facts"]
    assert record["licenses"] == {"tower": "cc-by-nc-4.0", "euro": "cc-by-nc-4.0"}
    assert (record["translations"], record["kept"], record["dropped"], record["failed"]) == (10, 4, 6, 0)
    assert audit.main([str(tmp_path / "out")]) == 0
    system_of = {row["utt_id"]: row["system"] for n in range(3) for row in labels.read(str(tmp_path / "out"), n).to_pylist()}
    assert system_of["u0"] == "tower" and system_of["u8"] == "euro" and system_of["u9"] == "tower"


def test_another_score_may_decide_and_cut(ray_session, run, tmp_path):
    assert run(by="blaser2_mt", top_k=2, threshold=0.0) == 0
    assert kept(tmp_path) == {0: "euro", 9: "tower"}


def test_a_score_of_a_plugin_chooses_between_systems_and_filters(run, tmp_path, data, monkeypatch):
    """Beside one from a file; without Ray, whose workers are of this session and do not have the plugin."""
    scored = []

    def of_the_tower(rows):
        scored.extend(row["utt_id"] for row in rows)
        return [None if row["utt_id"] == "u2" else float(row["system"].endswith("tower")) for row in rows]

    monkeypatch.setitem(SCORES._things, "tower", lambda: of_the_tower)
    quality = {"scores": ["tower"], "by": "tower", "minimum": {"tower": 1, "blaser2_mt": 4.25}, "threshold": 0.0}
    assert run("--dry-run", **quality) == 0
    settings = config.load(str(tmp_path / "c.yaml"), (), "pseudo_label")
    shards = labels.planned(settings)
    planning.write(settings.output, shards)
    for shard in shards:
        ChooseShard(settings)(pa.Table.from_pylist([vars(shard)]))
    labels.write_kept(settings, shards, labels.cuts(settings, shards))
    assert kept(tmp_path) == dict.fromkeys(range(3, 10), "tower")  # below BLASER's 4.25 are 0 to 2
    assert sorted(scored) == sorted([f"u{n}" for n in range(ROWS)] + [f"u{n}" for n in range(9)])  # euro has no u9


@pytest.mark.parametrize(
    ("numbers", "reason"), [([1.0], "tower gave 1 numbers for 2"), ([1.0, float("nan")], "tower gave nan for b → de")]
)
def test_a_score_that_is_no_number_is_refused_by_row(numbers, reason, monkeypatch):
    monkeypatch.setitem(SCORES._things, "tower", lambda: lambda rows: numbers)
    made = [{"utt_id": n, "target_language": "de", "translation": "x", "scores": ()} for n in "ab"]
    with pytest.raises(ValueError, match=f"quality.scores: {reason}"):
        Scorer(["tower"]).add(made)


def test_any_so_many_of_the_good_ones_are_the_same_each_time(ray_session, run, tmp_path):
    assert run(top_k=4, choice="random") == 0
    chosen = kept(tmp_path)
    assert len(chosen) == 4 and set(chosen) != {0, 1, 2, 3}
    assert set(chosen.values()) <= {"tower", "euro"} and 9 not in chosen


def test_the_plan_says_what_is_kept(run, capsys):
    assert run("--dry-run", minimum={"blaser2_mt": 4.5}, top_k=250_000, choice="random") == 0
    out = capsys.readouterr().out
    assert "into de; kept from score 0.85, blaser2_mt 4.5, random 250000 of each language" in out
    assert "the better of 2 systems by score; nothing is translated" in out


@pytest.mark.parametrize(
    ("quality", "reason"),
    [
        (
            {"minimum": {"xcomet": 0.9}},
            "minimum.xcomet: no translation has the score 'xcomet'; known are blaser2_mt, score",
        ),
        ({"by": "xcomet"}, "quality.by: no translation has the score 'xcomet'"),
        ({"model": "some/kiwi", "python": "/python"}, "quality.model: candidates are scored already"),
    ],
)
def test_a_score_that_nobody_found_is_one_line_of_the_dry_run(run, quality, reason, capsys):
    assert run("--dry-run", **quality) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert reason in line


@pytest.mark.parametrize(("given", "reason"), [("model=m", "give a model that translates, or"), ("candidates=[]", "or the runs")])
def test_a_model_or_candidates_and_not_both(run, given, reason, capsys):
    assert run("--dry-run", given) == 2
    assert reason in capsys.readouterr().err


def test_a_system_of_other_rows_is_refused(ray_session, run, tmp_path, capsys):
    (tmp_path / "euro" / "_done" / "000001.json").unlink()
    assert run() == 2
    assert "candidates.1.labels=" in capsys.readouterr().err


def test_a_missing_file_of_scores_is_refused(ray_session, run, tmp_path, capsys):
    (tmp_path / "euro.blaser" / "part-000001.parquet").unlink()
    assert run() == 2
    assert "no part-000001.parquet there" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["mt", "st"])
def test_the_best_and_the_worst_are_pairs_for_preference_training(run, tmp_path, task):
    more = {"pairs": {"task": task, "margin": 0.015}, "quality": {"threshold": 0.85}}
    run("--dry-run")
    settings = config.load(str(tmp_path / "c.yaml"), more, "pseudo_label")
    for shard in (shards := labels.planned(settings)):
        ChooseShard(settings)(pa.Table.from_pylist([vars(shard)]))
    files = [f"{tmp_path}/out/pairs/part-{shard.shard:06d}.jsonl" for shard in shards]
    pairs = [json.loads(line) for file in files for line in storage.read_bytes(file).splitlines()]
    assert [pair["utt_id"] for pair in pairs] == ["u0", "u1", "u2", "u6", "u7", "u8"]  # 3 to 5 score alike, of u9 there is one
    assert pairs[2] == {
        "utt_id": "u2", "target_language": "de", "systems": ["tower", "euro"], "scores": [0.88, 0.86],
        "prompt": [{"role": "user", "content": {
            "mt": "Translate the following text from English to German.\nEnglish: dog 2\nGerman:",
            "st": "Speech: \U000f0002\nGerman:",
        }[task]}],
        "chosen": [{"role": "assistant", "content": "tower 2"}], "rejected": [{"role": "assistant", "content": "euro 2"}],
    }  # fmt: skip
    assert pairs[3]["systems"] == ["euro", "tower"]


def test_pairs_of_one_system_are_refused(tmp_path, data, capsys):
    config = {"stage": "pseudo_label", "output": str(tmp_path / "out"), "data": data, "model": "m", "languages": ["de"]}
    assert cli.main(["pseudo_label", "--config", json.dumps(config | {"pairs": {"task": "st"}})]) == 2
    assert "pairs.task=st: pairs are made of several candidates" in capsys.readouterr().err
