"""Checkpoints at a URL: the mark comes last, damage is passed over, and a start brings back what is missing."""

import itertools

import fsspec
import pytest

from spire_ray.core import storage
from spire_ray.training.checkpoints import places, record
from spire_ray.training.checkpoints.places import Bucket, Copy

_number = itertools.count()


@pytest.fixture
def place():
    """A bucket in memory; the tests of the storage use an S3 server."""
    return f"memory://bucket-{next(_number)}/train"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "local"


def copied(place, folder, step, finish=True):
    path = folder / record.name(step) / "global"
    path.mkdir(parents=True)
    (path / "optimizer.pt").write_bytes(bytes([step]) * 1000)
    (path.parent / "weights.pt").write_bytes(b"w" * 500)
    files = record.describe(str(folder), step)
    copy = Copy(at(place, folder), step, list(files))
    assert copy.wait() is None
    if finish:
        copy.complete({"world_size": 1}, files)


def at(place, folder):
    """The bucket as a node sees it whose disk is `folder`."""
    bucket = Bucket(place)
    bucket.folder = str(folder)
    return bucket


def test_the_newest_complete_copy_is_found(place, folder, capsys):
    for step in (1, 2):
        copied(place, folder, step)
    copied(place, folder, 3, finish=False)
    assert places.newest(at(place, folder))["step"] == 2
    assert capsys.readouterr().out == f"checkpoint {place}/step-00000003: passed over, no COMPLETE.json\n"


def test_a_copy_with_a_short_or_lost_file_is_passed_over(place, folder, capsys):
    for step in (1, 2, 3):
        copied(place, folder, step)
    storage.write_bytes(f"{place}/step-00000003/weights.pt", b"w" * 499)
    fs, path = storage.filesystem(f"{place}/step-00000002/global/optimizer.pt")
    fs.rm(path)
    assert places.newest(at(place, folder))["step"] == 1
    assert capsys.readouterr().out.count("is missing or damaged") == 2


def test_a_mark_that_cannot_be_read_is_passed_over(place, folder, capsys):
    for step in (1, 2):
        copied(place, folder, step)
    storage.write_bytes(f"{place}/step-00000002/COMPLETE.json", b"{")
    assert places.newest(at(place, folder))["step"] == 1
    assert capsys.readouterr().out == f"checkpoint {place}/step-00000002: passed over, COMPLETE.json is damaged\n"


def test_without_any_there_is_none(place, folder):
    assert places.newest(at(place, folder)) is None


def test_a_start_brings_what_is_missing_or_damaged_and_leaves_the_rest(place, folder, tmp_path):
    copied(place, folder, 5)
    other = at(place, tmp_path / "other node")
    assert places.newest(other)["step"] == 5
    here = tmp_path / "other node" / record.name(5)
    assert (here / "global" / "optimizer.pt").read_bytes() == bytes([5]) * 1000
    (here / "weights.pt").write_bytes(b"x" * 500)
    kept = (here / "global" / "optimizer.pt").stat().st_mtime_ns
    assert places.newest(other)["step"] == 5
    assert (here / "weights.pt").read_bytes() == b"w" * 500
    assert (here / "global" / "optimizer.pt").stat().st_mtime_ns == kept


def test_a_copy_that_changed_at_its_place_is_passed_over_for_the_one_before(place, folder, tmp_path, capsys):
    for step in (4, 5):
        copied(place, folder, step)
    storage.write_bytes(f"{place}/step-00000005/weights.pt", b"v" * 500)
    assert places.newest(at(place, tmp_path / "other"))["step"] == 4
    assert capsys.readouterr().out == f"checkpoint {place}/step-00000005: passed over, weights.pt is damaged\n"


def test_a_place_that_cannot_be_written_is_told(folder, monkeypatch):
    copied("memory://good/train", folder, 1)

    class Gone(fsspec.get_filesystem_class("memory")):
        def put_file(self, *_, **__):
            raise FileNotFoundError("The specified bucket does not exist")

    monkeypatch.setattr(storage, "filesystem", lambda uri: (Gone(), "bucket"))
    copy = Copy(at("memory://bucket/train", folder), 1, ["weights.pt"])
    assert copy.wait() == "FileNotFoundError: The specified bucket does not exist"


def test_pruning_keeps_the_newest(place, folder):
    for step in (1, 2, 3):
        copied(place, folder, step)
    places.prune(at(place, folder), keep=2)
    assert [name for name in storage.listing(place) if name.startswith("step-")] == ["step-00000002", "step-00000003"]
