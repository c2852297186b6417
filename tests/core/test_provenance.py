"""Output folders: a finished one is kept, one that something else made is refused."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from spire_ray.core import provenance, storage
from spire_ray.core.provenance import Output, inputs_of, licenses_of
from spire_ray.settings import (
    ExtendModelSettings,
    FitCodebookSettings,
    LicenseSettings,
    PackSettings,
    SourceSettings,
    TrackingSettings,
)


@pytest.fixture
def settings(tmp_path):
    return FitCodebookSettings(output=str(tmp_path / "codebook"), manifest="m.parquet", clusters=100)


def finish(settings, **facts):
    output = Output.open(settings)
    output.begin(settings)
    output.finish(**facts)
    return output


def test_a_begun_folder_is_not_complete_and_a_finished_one_is(settings):
    output = Output.open(settings)
    assert not output.complete
    output.begin(settings)
    assert not Output.open(settings).complete
    output.finish(rows=5)
    assert Output.open(settings).complete


def test_the_record_says_what_made_the_folder(settings, tmp_path):
    finish(settings, rows=5)
    record = json.loads((tmp_path / "codebook" / "run.json").read_text())
    assert record["stage"] == "fit_codebook"
    assert record["resolved"]["clusters"] == 100
    assert record["rows"] == 5
    assert {"python", "spire-ray", "torch", "numpy"} <= record["versions"].keys()


def test_another_configuration_is_refused_with_the_key_named(settings):
    finish(settings)
    with pytest.raises(ValueError, match=r"was made with other config \(clusters: 100 → 200\); choose another output"):
        Output.open(dataclasses.replace(settings, clusters=200))


def test_a_folder_in_which_nothing_was_made_yet_is_free_for_another_configuration(settings, tmp_path):
    Output.open(settings).begin(settings)
    other = dataclasses.replace(settings, clusters=200)
    assert Output.open(other).record["config"]["clusters"] == 200
    (tmp_path / "codebook" / "sample.parquet").touch()
    with pytest.raises(ValueError, match="clusters: 100 → 200"):
        Output.open(other)


def test_other_resources_tracking_and_consent_may_continue_a_folder(settings):
    finish(settings)
    other = dataclasses.replace(
        settings, workers=9, gpus_per_worker=1.0, tracking=TrackingSettings(enabled=False), license=LicenseSettings(accept=("x",))
    )
    assert Output.open(other).complete


def test_a_folder_with_foreign_files_is_refused(settings, tmp_path):
    (tmp_path / "codebook").mkdir()
    Output.open(settings)  # an empty folder is as good as none
    (tmp_path / "codebook" / "thesis.docx").touch()
    with pytest.raises(ValueError, match=r"holds files but no run\.json; choose an empty folder"):
        Output.open(settings)
    assert [path.name for path in (tmp_path / "codebook").iterdir()] == ["thesis.docx"]


def test_an_input_that_has_not_finished_is_refused(settings, tmp_path):
    Output.open(settings).begin(settings)
    extend = ExtendModelSettings(model="m", codebook=settings.output, output=str(tmp_path / "model"))
    with pytest.raises(ValueError, match=r"codebook=.*: the stage fit_codebook has not finished there; run it again first"):
        Output.open(extend)


def test_inputs_are_recorded_and_changed_ones_refused(settings, tmp_path):
    finish(settings)
    extend = ExtendModelSettings(model="m", codebook=settings.output, output=str(tmp_path / "model"))
    finish(extend)
    assert inputs_of(extend).keys() == {"codebook"}
    (tmp_path / "codebook" / "run.json").unlink()
    finish(dataclasses.replace(settings, clusters=300))
    with pytest.raises(ValueError, match=r"was made with other inputs \(codebook: '\w+' → '\w+'\)"):
        Output.open(extend)


def test_files_in_folders_and_listed_folders_are_inputs_too(settings, tmp_path):
    finish(settings)
    source = SourceSettings(task="asr", data=f"{settings.output}/units.parquet")
    pack = PackSettings(
        model="m", sources=(SourceSettings(task="asr", data="elsewhere", name="x"), source), output=str(tmp_path / "pack")
    )
    assert inputs_of(pack).keys() == {"sources.1.data"}


@pytest.mark.parametrize("data", ["text.parquet", "corpus"])
def test_a_text_manifest_that_changed_under_a_finished_pack_is_noticed(tmp_path, data):
    """By what is in it: a copy with another date is the same."""
    place = tmp_path / data if data.endswith(".parquet") else tmp_path / data / "part-000000.parquet"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"one")
    source = SourceSettings(task="text", data=str(tmp_path / data))
    pack = PackSettings(model="m", sources=(source,), output=str(tmp_path / "pack"))
    finish(pack)
    assert Output.open(pack).complete
    os.utime(place, (1, 1))
    assert Output.open(pack).complete
    place.write_bytes(b"two")
    with pytest.raises(ValueError, match=r"was made with other inputs \(sources.0.data: '\w+' → '\w+'\)"):
        Output.open(pack)
    place.write_bytes(b"one")
    assert Output.open(pack).complete


def test_inputs_in_a_bucket_are_recorded_and_unfinished_ones_refused(settings, s3):
    fitted = dataclasses.replace(settings, output="s3://spire/codebook")
    extend = ExtendModelSettings(model="m", codebook=fitted.output, output="s3://spire/model")
    begun = Output.open(fitted)
    begun.begin(fitted)
    with pytest.raises(ValueError, match="the stage fit_codebook has not finished there"):
        Output.open(extend)
    begun.finish()
    assert inputs_of(extend) == {"codebook": begun.record["id"]}
    source = SourceSettings(task="asr", data="s3://spire/codebook/*.parquet")
    everywhere = SourceSettings(task="asr", data="s3://spire/*/units.parquet", name="x")
    storage.write_bytes("s3://spire/codebook/units.parquet", b"")
    storage.write_bytes("s3://spire/theirs/units.parquet", b"")
    storage.write_bytes("s3://spire/theirs/run.json", b"[1]")  # of another program
    pack = PackSettings(model="hub/model", sources=(source, everywhere), output="s3://spire/pack")
    assert inputs_of(pack) == {f"sources.{n}.data": begun.record["id"] for n in range(2)}


def test_a_bucket_that_may_not_be_listed_has_inputs_without_a_record(settings, monkeypatch):
    def forbidden(uri):
        raise PermissionError("Forbidden")

    monkeypatch.setattr(storage, "exists", forbidden)
    assert inputs_of(dataclasses.replace(settings, manifest="s3://theirs/m.parquet")) == {}


def test_the_same_work_has_the_same_id_wherever_it_lies(settings, tmp_path):
    one = finish(settings).record["id"]
    assert finish(dataclasses.replace(settings, output=str(tmp_path / "again"))).record["id"] == one
    assert finish(dataclasses.replace(settings, output=str(tmp_path / "other"), seed=1)).record["id"] != one


def test_rows_have_the_licenses_of_their_corpus_and_of_the_models_that_labelled_them(tmp_path):
    corpus, units, labels = (f"{tmp_path}/{name}" for name in ("corpus", "units", "labels"))
    storage.write_json(f"{corpus}/corpus.json", {"corpus": "mls", "license": "cc-by-4.0"})
    storage.write_json(
        f"{units}/run.json",
        {"stage": "label", "status": "complete", "resolved": {"manifest": f"{corpus}/part-*.parquet"}, "facts": {}},
    )
    named = {"licenses": {"tower": "cc-by-nc-4.0"}}
    storage.write_json(
        f"{labels}/run.json",
        {"stage": "pseudo_label", "status": "complete", "resolved": {"data": units, "model": "tower"}, "facts": named},
    )
    assert licenses_of(units) == {"mls": "cc-by-4.0"}
    assert licenses_of(labels) == {"mls": "cc-by-4.0", "tower": "cc-by-nc-4.0"}
    assert licenses_of(f"{labels}/part-000000.parquet") == licenses_of(labels)
    assert licenses_of(f"{tmp_path}/mine") == {}
    storage.write_json(f"{tmp_path}/other/corpus.json", {"corpus": "fleurs", "license": "cc-by-4.0"})
    assert licenses_of(f"{tmp_path}/{{labels,other}}").keys() == {"mls", "tower", "fleurs"}


def test_of_several_folders_in_braces_each_is_an_input(settings, tmp_path):
    finish(settings)
    finish(dataclasses.replace(settings, output=str(tmp_path / "other"), clusters=7))
    both = dataclasses.replace(settings, output=str(tmp_path / "third"), manifest=f"{tmp_path}/{{codebook,other}}")
    ids = [storage.read_json(f"{tmp_path}/{name}/run.json")["id"] for name in ("codebook", "other")]
    assert inputs_of(both) == {"manifest": " ".join(ids)}


def test_a_folder_whose_configuration_holds_a_secret_is_gone_on_with_and_another_refused(settings, monkeypatch):
    monkeypatch.setenv("CORPUS_TOKEN", "abc123xyz")  # which may stand in a path by chance, too
    for manifest in ("https://user:tower-of-babel@host/m.jsonl", "/data/abc123xyz/m.jsonl"):
        mine = dataclasses.replace(settings, manifest=manifest, output=f"{settings.output}-{len(manifest)}")
        finish(mine)
        assert Output.open(mine).complete
        assert "tower-of-babel" not in storage.read_bytes(f"{mine.output}/run.json").decode()
        with pytest.raises(ValueError, match="made with other config"):
            Output.open(dataclasses.replace(mine, manifest=manifest.replace("m.jsonl", "n.jsonl")))


def test_the_commit_of_an_image_is_that_of_its_build_argument(monkeypatch):
    monkeypatch.setenv("SPIRE_COMMIT", "0123abc")
    assert provenance.git_state() == {"commit": "0123abc", "dirty": "false"}
    dockerfile = (Path(__file__).parents[2] / "cluster" / "Dockerfile").read_text()
    assert "ARG COMMIT" in dockerfile and "SPIRE_COMMIT=${COMMIT}" in dockerfile
