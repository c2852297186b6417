"""Checkpoints at a URL: the mark comes last, damage is passed over, and a start brings back what is missing."""

import itertools

import fsspec
import pytest

from spire_ray.core import storage
from spire_ray.training import checkpoint, remote

_number = itertools.count()


@pytest.fixture
def place():
    """A bucket in memory; the tests of the storage use an S3 server."""
    return f"memory://bucket-{next(_number)}/train"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "local"


def copied(place, folder, step, finish=True):
    path = folder / checkpoint.name(step) / "global"
    path.mkdir(parents=True)
    (path / "optimizer.pt").write_bytes(bytes([step]) * 1000)
    (path.parent / "weights.pt").write_bytes(b"w" * 500)
    files = checkpoint.describe(str(folder), step)
    copy = remote.Copy(str(folder), place, {"step": step, "world_size": 1, "files": files}, list(files))
    assert copy.wait() is None
    if finish:
        copy.complete()


def test_the_newest_complete_copy_is_found(place, folder, capsys):
    for step in (1, 2):
        copied(place, folder, step)
    copied(place, folder, 3, finish=False)
    assert remote.newest(place)["step"] == 2
    assert capsys.readouterr().out == f"checkpoint {place}/step-00000003: passed over, no COMPLETE.json\n"


def test_a_copy_with_a_short_or_lost_file_is_passed_over(place, folder, capsys):
    for step in (1, 2, 3):
        copied(place, folder, step)
    storage.write_bytes(f"{place}/step-00000003/weights.pt", b"w" * 499)
    fs, path = storage.filesystem(f"{place}/step-00000002/global/optimizer.pt")
    fs.rm(path)
    assert remote.newest(place)["step"] == 1
    assert capsys.readouterr().out.count("is missing or damaged") == 2


def test_a_mark_that_cannot_be_read_is_passed_over(place, folder, capsys):
    for step in (1, 2):
        copied(place, folder, step)
    storage.write_bytes(f"{place}/step-00000002/COMPLETE.json", b"{")
    assert remote.newest(place)["step"] == 1
    assert capsys.readouterr().out == f"checkpoint {place}/step-00000002: passed over, COMPLETE.json is damaged\n"


def test_without_any_there_is_none(place):
    assert remote.newest(place) is None


def test_fetching_brings_what_is_missing_or_damaged_and_leaves_the_rest(place, folder, tmp_path):
    copied(place, folder, 5)
    record = remote.newest(place)
    other = tmp_path / "other node"
    remote.fetch(place, str(other), record)
    here = other / checkpoint.name(5)
    assert (here / "global" / "optimizer.pt").read_bytes() == bytes([5]) * 1000
    (here / "weights.pt").write_bytes(b"x" * 500)
    kept = (here / "global" / "optimizer.pt").stat().st_mtime_ns
    remote.fetch(place, str(other), record)
    assert (here / "weights.pt").read_bytes() == b"w" * 500
    assert (here / "global" / "optimizer.pt").stat().st_mtime_ns == kept


def test_a_copy_that_changed_at_its_place_is_refused(place, folder, tmp_path):
    copied(place, folder, 5)
    storage.write_bytes(f"{place}/step-00000005/weights.pt", b"v" * 500)
    with pytest.raises(ValueError, match=r"weights\.pt is damaged; delete this checkpoint"):
        remote.fetch(place, str(tmp_path / "other"), remote.newest(place))


def test_a_place_that_cannot_be_written_is_told(folder, monkeypatch):
    copied("memory://good/train", folder, 1)

    class Gone(fsspec.get_filesystem_class("memory")):
        def put_file(self, *_, **__):
            raise FileNotFoundError("The specified bucket does not exist")

    monkeypatch.setattr(storage, "filesystem", lambda uri: (Gone(), "bucket"))
    copy = remote.Copy(str(folder), "memory://bucket/train", {"step": 1}, ["weights.pt"])
    assert copy.wait() == "FileNotFoundError: The specified bucket does not exist"


def test_pruning_keeps_the_newest(place, folder):
    for step in (1, 2, 3):
        copied(place, folder, step)
    remote.prune(place, keep=2)
    assert [name for name in storage.listing(place) if name.startswith("step-")] == ["step-00000002", "step-00000003"]
