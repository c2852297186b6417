"""What a worker raises is told in one line, without the advice that Ray Data adds to it."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from spire_ray.core import command, references, storage
from spire_ray.runtime import job
from spire_ray.settings import HeldOutSettings, LabelSettings, TrainingSettings, TrainSettings


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (ValueError("m.parquet: its rows\nare others"), "m.parquet: its rows are others"),
    ],
)
def test_an_error_of_a_worker_is_one_line_that_says_what_was_wrong(raised, told, capsys):
    from ray.data._internal.util import _annotate_exception_with_retry_context as annotated
    from ray.exceptions import RayTaskError

    sent = annotated(raised, description="apply UDF transform", attempts=1, max_attempts=4, total_backoff_s=0.0, exception_str="")
    received = RayTaskError("map", "", pickle.loads(pickle.dumps(sent)), "", 1, "127.0.0.1").as_instanceof_cause()
    assert isinstance(received, type(raised))  # what a stage catches

    @command.cli_errors("label", job._words)
    def fails(arguments):
        raise received

    assert fails() == command.USER_ERROR
    assert capsys.readouterr().err == f"label: error: {told}\n"


def test_bars_of_libraries_stay_out_of_a_log():
    code = "import spire_ray.stages.export; from tqdm import tqdm; list(tqdm(range(3)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr == b""


@pytest.mark.parametrize(("path", "where"), [("r/codebook", "absent"), ("none", "absent"), (".", "found")])
def test_a_dry_run_says_which_inputs_are_there(path, where, tmp_path, capsys):
    settings = LabelSettings(manifest=str(tmp_path), codebook=path, output=str(tmp_path))
    assert job._dry_run(settings, (), strict=True) == (0 if where == "found" else command.USER_ERROR)
    assert f"codebook: {path} ({where})\n" in capsys.readouterr().out


def test_an_absent_input_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="codebook=r/codebook: not found"):
        job._require(LabelSettings(manifest=str(tmp_path), codebook="r/codebook", output="out"))


def test_inputs_follow_from_the_types_of_the_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    training = TrainingSettings(steps=1, global_batch_size=1)
    held_out = HeldOutSettings(pack="held")
    settings = TrainSettings(stage="it", output="o", model="a/b", pack="p", deepspeed="d", training=training, held_out=held_out)
    assert [(field.key, where) for field, where in job.inputs(settings)] == [
        ("model", references.ON_THE_HUB),
        ("pack", references.ABSENT),
        ("deepspeed", references.ABSENT),
        ("held_out.pack", references.ABSENT),
    ]


@pytest.fixture
def unreachable(monkeypatch):
    """Buckets whose network must not be asked: whoever opens a connection fails."""

    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


@pytest.mark.parametrize("path", sorted(Path("configs").rglob("*.yaml"), key=str), ids=str)
def test_no_dry_run_asks_the_network(path, unreachable, capsys, tmp_path):
    """Every configuration, with all of it in a bucket."""
    data = yaml.safe_load(path.read_text())
    if not isinstance(data, dict) or data.get("stage") in (None, "run", "corpus", "init_model"):
        return  # a recipe starts its steps, and two stages write to folders
    given = ["--config", str(path), "root=s3://bucket/root", "--dry-run", "--strict"]
    assert job.main(data["stage"], given) in (0, command.USER_ERROR)
    captured = capsys.readouterr()
    assert "s3://bucket/root" in captured.out and not captured.err
    if data["stage"] != "fetch":  # which reads nothing that a stage has made
        assert "(not asked: a dry run asks no network)" in captured.out


def test_what_is_asked_outside_a_dry_run_is_asked_again(s3):
    storage.write_bytes("s3://spire/x", b"x")
    with storage.unasked():
        assert not storage.exists("s3://spire/x")
        with pytest.raises(ValueError, match="s3://spire/x: a dry run asks no network"):
            storage.read_bytes("s3://spire/x")
        assert storage.exists(__file__)
    assert storage.read_bytes("s3://spire/x") == b"x"


def test_files_that_come_with_the_program_need_not_be_shared(tmp_path):
    (tmp_path / "zero.json").write_text("{}")
    training = TrainingSettings(steps=1, global_batch_size=1)
    given = {"model": str(tmp_path), "pack": str(tmp_path), "deepspeed": str(tmp_path / "zero.json")}
    settings = TrainSettings(stage="it", output="o", training=training, **given)
    assert set(job._of_every_node(settings)) == {"model", "pack"}
