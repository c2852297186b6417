"""What a worker raises is told in one line, without the advice that Ray Data adds to it."""

import pickle
import subprocess
import sys

import pytest

from spire_ray import command
from spire_ray.distributed import stage


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

    @command.told("label", stage._words)
    def fails(arguments):
        raise received

    assert fails() == command.USER_ERROR
    assert capsys.readouterr().err == f"label: error: {told}\n"


def test_bars_of_libraries_stay_out_of_a_log():
    code = "import spire_ray.distributed.export; from tqdm import tqdm; list(tqdm(range(3)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr == b""
