"""The box of the GPU day: whatever ends an entry, what it found is kept; what travels arrives whole."""

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from benchmarks.gpu import parcels, results, runner
from benchmarks.gpu.entries import ORDER
from benchmarks.gpu.entry import declared
from benchmarks.gpu.runner import Plan

BROKEN = "tests.benchmarks.broken_entry"
ROOT = Path(__file__).parents[2]


def read(archive):
    with tarfile.open(archive) as opened:
        return {member.name.split("/")[-1]: opened.extractfile(member).read().decode() for member in opened.getmembers()}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """What the archive holds after an entry that breaks in every way."""
    output = tmp_path_factory.mktemp("day")
    assert runner.run(Plan([BROKEN], 5, output, small=True)) is False
    return read(output / "results.tar")


def test_every_check_is_there_with_what_became_of_it(broken):
    record = json.loads(broken[f"{BROKEN}.json"])
    assert record["status"] == "failed"
    assert {check["check"]: check["status"] for check in record["checks"]} == {
        "good": "passed",
        "missed": "failed",
        "not a number": "failed",
        "raises": "failed",
        "absent": "absent",
        "takes its process along": "failed",
        "after it": "passed",
        "lasts": "failed",
    }
    found = {check["check"]: check for check in record["checks"]}
    assert found["missed"]["missed"] == ["figure is 2, wanted at most 1"] and found["missed"]["figures"] == {"figure": 2.0}
    assert "ZeroDivisionError" in found["raises"]["error"]
    assert "died" in found["takes its process along"]["error"] and "killed" in found["lasts"]["error"]
    assert {"card", "python", "packages", "cores"} <= set(record["machine"])


def test_texts_and_a_table_are_kept_beside_the_figures(broken):
    assert broken[f"{BROKEN}.profile.txt"] == "a table"
    assert "| | missed | failed |" in broken["summary.md"] and "figure is 2, wanted at most 1" in broken["summary.md"]


def test_an_entry_that_needs_what_is_not_here_is_named_and_no_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "find_spec", lambda module: None)
    runner.run(Plan(["ray"], 5, tmp_path, small=True))
    record = json.loads(read(tmp_path / "results.tar")["ray.json"])
    assert record["status"] == "absent" and "needs ray, deepspeed" in record["error"]


def test_an_entry_without_time_is_left_out(tmp_path):
    plan = Plan(["smoke_units", "kmeans"], 0.2, tmp_path)
    runner.run(plan)
    records = [json.loads(text) for name, text in read(tmp_path / "results.tar").items() if name.endswith(".json")]
    assert [record["status"] for record in records] == ["absent", "absent"] and "no time" in records[0]["error"]


def test_an_archive_replaces_what_an_older_one_left(tmp_path):
    for number in (1, 2):
        kept = results.Results(tmp_path, "NVIDIA H200", small=False)
        kept.put(f"entry{number}", {"status": "passed", "checks": [], "about": "", "machine": {}})
        folder = results.collect(tmp_path / "results.tar", tmp_path / "kept")
    assert sorted(path.name for path in folder.iterdir()) == ["entry2.json", "summary.md"]
    assert folder.name.endswith("-nvidia-h200")


def test_words_name_entries_in_their_order_and_unknown_ones_are_refused():
    assert runner.chosen(["kmeans", "smoke"]) == [name for name in ORDER if name.startswith("smoke")] + ["kmeans"]
    with pytest.raises(ValueError, match="--only smok3: no such entry"):
        runner.chosen(["smok3"])


def test_every_entry_is_listed_with_its_minutes():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed = [line.split()[0] for line in done.stdout.splitlines()]
    assert listed == list(ORDER)
    assert sum(declared(name).minutes for name in ORDER if name.startswith("smoke")) <= 6


def wheel(folder, name, size):
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    draw = "".join(chr(97 + (i * i + i // 7) % 26) for i in range(size))
    members = {
        f"{name}/__init__.py": f"VALUE = {draw!r}\n",
        f"{name}/jars/left.jar": "x",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": f"{name}/__init__.py,,\n{name}/jars/left.jar,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for title, text in members.items():
            archive.writestr(title, text)
    return path


def test_a_wheel_above_the_limit_travels_in_pieces_over_several_calls(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parcels, "FOLDER", tmp_path / "sent")
    monkeypatch.setattr(parcels, "_LEFT_OUT", ("large_one/jars/",))
    files = [wheel(tmp_path, "large_one", 5000), wheel(tmp_path, "small_one", 10)]
    for file in files:
        parcels.lighten(file)
    assert "large_one/jars/left.jar" not in zipfile.ZipFile(files[0]).namelist()
    parcels.put("both", files, limit=2500)
    assert "both-1:" in capsys.readouterr().out
    folders = sorted((tmp_path / "sent").iterdir())
    assert len(folders) > 1
    assert all(sum(file.stat().st_size for file in folder.iterdir()) <= 2500 for folder in folders)
    site = tmp_path / "site"
    for number, folder in enumerate(folders):  # one call each
        assert not (site / "large_one").exists()
        monkeypatch.setattr(parcels, "FOLDER", tmp_path / f"call{number}")
        shutil.copytree(folder, parcels.FOLDER / folder.name)
        parcels.unpack(site)
    program = "import large_one, small_one; print(len(large_one.VALUE), len(small_one.VALUE))"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["5000", "10"]


@pytest.mark.long
@pytest.mark.parametrize("name", ORDER)
def test_every_entry_runs_in_this_environment(tmp_path, name):
    """As in the rehearsal in the environment of a GPU machine; an entry whose package is not here says so."""
    runner.run(Plan([name], 20, tmp_path, small=True))
    found = read(tmp_path / "results.tar")
    assert json.loads(found[f"{name}.json"])["status"] in ("passed", "absent"), found["summary.md"]
    assert name == "learn" or json.loads(found[f"{name}.json"])["status"] == "passed"  # whose models are no dependency
