"""Storage: whole or not at all, the same calls on a disk and on S3."""

import os
import subprocess
import sys
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spire_ray.core import copies, storage, tables

TABLE = pa.table({"utt_id": ["a", "b"], "units": pa.array([[1, 2], [3]], pa.list_(pa.uint16()))})


@pytest.fixture(params=["disk", "s3"])
def root(request, tmp_path):
    if request.param == "s3":
        request.getfixturevalue("s3")
        return "s3://spire/runs"
    return str(tmp_path / "runs")


def test_what_is_written_is_read(root):
    path = storage.join(root, "deep", "er", "file.bin")
    assert not storage.exists(path)
    storage.write_bytes(path, b"\x00\x01" * 1000)
    assert storage.exists(path)
    assert storage.exists(storage.join(root, "deep"))
    assert storage.read_bytes(path) == b"\x00\x01" * 1000
    storage.write_bytes(path, b"new")
    assert storage.read_bytes(path) == b"new"


def test_json_and_parquet_come_back(root):
    storage.write_json(f"{root}/x.json", {"text": "größer", "list": [1, None]})
    assert storage.read_json(f"{root}/x.json") == {"text": "größer", "list": [1, None]}
    tables.write(f"{root}/x.parquet", TABLE)
    assert tables.read(f"{root}/x.parquet").equals(TABLE)
    assert tables.read(f"{root}/x.parquet", ["units"]).column_names == ["units"]


def test_a_folder_of_parts_is_read_in_the_order_of_their_names(root):
    for name, rows in (("part-000001.parquet", TABLE.slice(1)), ("part-000000.parquet", TABLE.slice(0, 1))):
        tables.write(f"{root}/{name}", rows)
    storage.write_bytes(f"{root}/_done/000000.json", b"{}")
    assert storage.listing(root) == ["_done", "part-000000.parquet", "part-000001.parquet"]
    assert tables.read(root).equals(TABLE)


def test_a_folder_without_parts_is_refused(root):
    storage.write_bytes(f"{root}/other.txt", b"x")
    with pytest.raises(ValueError, match=r"no part-\*\.parquet there"):
        tables.read(root)


def test_what_is_absent_lists_as_nothing_and_cannot_be_read(root):
    assert storage.listing(f"{root}/absent") == []
    with pytest.raises(OSError):
        storage.read_bytes(f"{root}/absent/file")


def test_only_paths_without_a_scheme_are_local(tmp_path):
    assert storage.is_local(str(tmp_path)) and storage.is_local("runs/x")
    assert not storage.is_local("s3://spire/x")
    assert storage.join("s3://spire/x/", "y", "z") == "s3://spire/x/y/z"


def test_an_atomic_write_leaves_no_other_file(tmp_path):
    storage.write_bytes(str(tmp_path / "file"), b"one")
    storage.write_bytes(str(tmp_path / "file"), b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_content_and_no_other_file(tmp_path, monkeypatch):
    storage.write_bytes(str(tmp_path / "file"), b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError):
        storage.write_bytes(str(tmp_path / "file"), b"new")
    monkeypatch.undo()
    assert storage.read_bytes(str(tmp_path / "file")) == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_listing_shows_what_another_machine_has_just_written(s3):
    storage.write_bytes("s3://spire/runs/_done/000000.json", b"{}")
    assert storage.listing("s3://spire/runs/_done") == ["000000.json"]
    assert not storage.exists("s3://spire/runs/_done/000001.json")
    s3[1].put_object(Bucket="spire", Key="runs/_done/000001.json", Body=b"{}")
    assert storage.exists("s3://spire/runs/_done/000001.json")
    assert storage.listing("s3://spire/runs/_done") == ["000000.json", "000001.json"]


def test_a_remote_folder_is_copied_once_for_what_it_holds_and_a_local_one_is_itself(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("SPIRE_CACHE", str(tmp_path / "cache"))
    assert copies.localize(str(tmp_path)) == str(tmp_path)
    storage.write_bytes("s3://spire/model/config.json", b"{}")
    storage.write_bytes("s3://spire/model/codebook/codebook.json", b"[]")
    folder = copies.localize("s3://spire/model")
    assert storage.read_bytes(f"{folder}/config.json") == b"{}"
    assert storage.read_bytes(f"{folder}/codebook/codebook.json") == b"[]"
    os.utime(f"{folder}/config.json", (1, 1))
    assert copies.localize("s3://spire/model") == folder
    assert os.path.getmtime(f"{folder}/config.json") == 1  # the same copy
    storage.write_bytes(f"{folder}/config.json", b"")
    assert storage.read_bytes(f"{copies.localize('s3://spire/model')}/config.json") == b"{}"
    storage.write_bytes("s3://spire/model/config.json", b"[]")
    assert storage.read_bytes(f"{copies.localize('s3://spire/model')}/config.json") == b"[]"
    with pytest.raises(FileNotFoundError, match="s3://spire/none: not found"):
        copies.localize("s3://spire/none")


def test_processes_of_a_node_share_a_copy(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("SPIRE_CACHE", str(tmp_path / "cache"))
    storage.write_bytes("s3://spire/model/weights", bytes(1 << 20))
    code = "from spire_ray.core import copies; print(copies.localize('s3://spire/model'))"
    before = s3[0].requests
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert len({process.communicate()[0] for process in running}) == 1
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1
    assert s3[0].requests > before


def test_a_folder_is_written_to_a_bucket_when_it_is_whole(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("SPIRE_CACHE", str(tmp_path / "cache"))
    with copies.new_folder("s3://spire/model") as folder:
        storage.write_bytes(f"{folder}/deep/weights", b"w")
    assert storage.read_bytes("s3://spire/model/deep/weights") == b"w"
    with pytest.raises(KeyError), copies.new_folder("s3://spire/half") as folder:
        storage.write_bytes(f"{folder}/weights", b"w")
        raise KeyError
    assert storage.listing("s3://spire/half") == []
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_codebook_and_a_pack_live_on_s3(s3, tiny_codebook, tiny_pack):
    import numpy as np

    from spire_ray.packs.pack import Pack
    from spire_ray.units.codebook import Codebook

    tiny_codebook.save("s3://spire/codebook")
    assert np.array_equal(Codebook.load("s3://spire/codebook").centroids, tiny_codebook.centroids)
    for name in ("index.json", "rows-00000.arrow"):
        storage.write_bytes(f"s3://spire/pack/{name}", storage.read_bytes(f"{tiny_pack}/{name}"))
    remote, local = Pack("s3://spire/pack"), Pack(tiny_pack)
    assert [row.input_ids.tolist() for row in remote.epoch(0, 0)] == [row.input_ids.tolist() for row in local.epoch(0, 0)]


def test_parquet_files_are_compressed(tmp_path):
    tables.write(str(tmp_path / "x.parquet"), TABLE)
    assert pq.ParquetFile(tmp_path / "x.parquet").metadata.row_group(0).column(0).compression == "ZSTD"


def test_an_absolute_path_means_the_same_in_every_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("runs/x") == str(tmp_path / "runs/x")
    assert storage.absolute("s3://bucket/x") == "s3://bucket/x"


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / "x.json").write_text("stage: label")
    with pytest.raises(ValueError, match=f"{tmp_path}/x.json: not JSON: "):
        storage.read_json(str(tmp_path / "x.json"))


def test_an_output_can_be_read_by_whom_the_mask_allows(tmp_path):
    mask = os.umask(0o022)
    try:
        with storage.new_file(str(tmp_path / "large")) as file:
            file.write(b"x")
        storage.write_bytes(str(tmp_path / "small"), b"x")
    finally:
        os.umask(mask)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("large", "small")} == {0o644}


def test_of_many_that_make_a_file_one_has_made_it(tmp_path):
    for number in range(100):
        at_once, made = threading.Barrier(8), []

        def make(place=str(tmp_path / str(number) / "file"), at_once=at_once, made=made):
            at_once.wait()
            made.append(storage.create(place, b"1"))

        threads = [threading.Thread(target=make) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(made) == [False] * 7 + [True]
