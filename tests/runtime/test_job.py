"""What a worker raises is told in one line, without the advice that Ray Data adds to it."""

import pickle
import subprocess
import sys

import pytest

from spire_ray.core import command
from spire_ray.runtime import stage
from spire_ray.settings import LabelSettings


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

    @command.cli_errors("label", stage._words)
    def fails(arguments):
        raise received

    assert fails() == command.USER_ERROR
    assert capsys.readouterr().err == f"label: error: {told}\n"


def test_bars_of_libraries_stay_out_of_a_log():
    code = "import spire_ray.stages.export; from tqdm import tqdm; list(tqdm(range(3)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr == b""


@pytest.mark.parametrize(("path", "where"), [("r/codebook", "absent"), ("none", "absent"), (".", "found")])
def test_a_dry_run_says_which_inputs_are_there(path, where, tmp_path, capsys):
    plan = stage.Plan({"codebook": path}, ())
    settings = LabelSettings(manifest="m", codebook=path, output=str(tmp_path))
    assert stage._dry_run(settings, plan, strict=True) == (0 if where == "found" else command.USER_ERROR)
    assert f"codebook: {path} ({where})\n" in capsys.readouterr().out


def test_a_model_may_be_on_a_hub(tmp_path, capsys):
    named = {"model": "name/model", "quality.model": "name/kiwi", "models.it": "./it/model"}
    plan = stage.Plan(named | {"encoder.name": "name/hubert", "models.cpt": "/model"}, ())
    assert (
        stage._dry_run(LabelSettings(manifest="m", codebook="c", output=str(tmp_path)), plan, strict=True) == command.USER_ERROR
    )
    told = capsys.readouterr().out.splitlines()
    assert told[1:] == [
        "  model: name/model (a hub id)",
        "  quality.model: name/kiwi (a hub id)",
        "  models.it: ./it/model (absent)",
        "  encoder.name: name/hubert (a hub id)",
        "  models.cpt: /model (absent)",
    ]
