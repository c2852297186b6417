"""What a worker raises is told in one line, without the advice that Ray Data adds to it."""

import pickle
import subprocess
import sys

import pytest

from spire_ray.core import command, references
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
    assert [(field.key, where) for field, where in job._inputs(settings)] == [
        ("model", references.ON_THE_HUB),
        ("pack", references.ABSENT),
        ("deepspeed", references.ABSENT),
        ("held_out.pack", references.ABSENT),
    ]
