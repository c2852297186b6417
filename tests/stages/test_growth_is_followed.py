"""What is made of a folder that has grown: gone on with, or refused; never called done."""

from dataclasses import replace

import pytest

from spire_ray.core import storage
from spire_ray.core.provenance import Output
from spire_ray.recipes import runner
from spire_ray.settings import PackSettings, PseudoLabelSettings, SourceSettings
from spire_ray.shards import marks
from spire_ray.shards.marks import Mark


def made(folder, content, stage="label"):
    """A finished output folder of some content."""
    record = {"stage": stage, "config": {}, "inputs": {}, "resolved": {}, "versions": {}, "git": {}}
    output = Output(str(folder), record)
    output.finish(content)
    storage.write_bytes(f"{folder}/part-000000.parquet", b"")
    return str(folder)


def finished(settings):
    output = Output.open(settings)
    output.begin(settings)
    output.finish()
    storage.write_bytes(f"{settings.output}/part", b"")
    return Output.open(settings).complete


def test_a_pack_of_units_that_have_changed_since_is_refused(tmp_path):
    units = made(tmp_path / "units", "one")
    pack = PackSettings(output=str(tmp_path / "pack"), model="m", sources=(SourceSettings(task="asr", data=units),))
    assert finished(pack)
    made(tmp_path / "units", "one")  # run again, with nothing new
    assert Output.open(pack).complete
    made(tmp_path / "units", "two")
    with pytest.raises(ValueError, match=r"made with other inputs \(sources.0.data: '\w+.one' → '\w+.two'\)"):
        Output.open(pack)


def test_pseudo_labels_go_on_with_what_is_new(tmp_path):
    units = made(tmp_path / "units", "one")
    labels = PseudoLabelSettings(output=str(tmp_path / "labels"), data=units, model="m", languages=("de",))
    assert finished(labels)
    made(tmp_path / "units", "two")
    assert not Output.open(labels).complete
    assert finished(labels)
    made(tmp_path / "units", "two", stage="pseudo_label")  # made by another stage
    with pytest.raises(ValueError, match="made with other inputs"):
        Output.open(labels)


def test_what_follows_a_change_has_changed_itself(tmp_path):
    """Pseudo-labels carry units along: other units of the same texts are other rows, of which their own marks say nothing."""
    ids = []
    for content in ("one", "one", "two"):
        units = made(tmp_path / "units", content)
        labels = PseudoLabelSettings(output=str(tmp_path / "labels"), data=units, model="m", languages=("de",))
        output = Output.open(labels)
        output.begin(labels)
        output.finish("the same marks")
        storage.write_bytes(f"{labels.output}/part", b"")
        ids.append(Output.open(labels).record["id"])
    assert ids[0] == ids[1] != ids[2]


def test_the_content_is_that_of_the_rows_and_not_of_the_machine(tmp_path):
    first = Mark(rows=3, digest="a", carried="b", units=10, rejected={"truncated": 1}, seconds=1.0, at=1.0)

    def content(mark):
        folder = str(tmp_path / str(len(list(tmp_path.iterdir()))))
        marks.write(folder, 0, mark)
        return marks.content(folder)

    same = replace(first, seconds=9.0, at=9.0, numerics={"encoder_dtype": "float32"})
    assert content(first) == content(same)
    others = [replace(first, **change) for change in ({"carried": "c"}, {"digest": "c"}, {"units": 11}, {"rejected": {}})]
    assert len({content(mark) for mark in (first, *others)}) == 1 + len(others)


def test_a_recipe_asks_again_what_reads_what_is_to_be_done(tmp_path, monkeypatch):
    units = made(tmp_path / "units", "one")
    pack = PackSettings(output=str(tmp_path / "pack"), model="m", sources=(SourceSettings(task="asr", data=units),))
    assert finished(pack)
    labelled = PseudoLabelSettings(output=units, data="manifest", model="m", languages=("de",))  # any stage, as the maker
    planned = {"label": labelled, "pack": pack}
    for done, expected in ((True, {"label", "pack"}), (False, set())):
        monkeypatch.setattr(runner, "_done", lambda settings, done=done: settings is pack or done)
        assert runner.finished_of(planned) == expected
