"""When a job has failed, and what it tells the user to do."""

import pytest

from spire_ray.shards import account
from spire_ray.shards.marks import Counts


@pytest.mark.parametrize(
    ("rejected", "most", "told"),
    [
        ({}, 0.0, None),
        ({"truncated": 5}, 0.5, None),
        ({"truncated": 4, "no samples": 2}, 0.5, r"^6 of 10 rows .* most as 'truncated': more than max_rejected_share=0\.5"),
        ({"truncated": 10}, 1.0, r"'truncated': nothing was labelled; `spire rejected out` lists them; once that is mended"),
        ({"no such file": 10}, 0.5, r"lists them; relative paths count from the folder of the manifest; once that is mended"),
        ({"unreachable": 10}, 0.5, r"relative paths count from the folder of the manifest"),
    ],
)
def test_a_job_that_rejected_too_much_says_what_and_where_to_look(rejected, most, told):
    total = Counts(rows=10, rejected=rejected)
    if told is None:
        account.check(total, most, "out")
        return
    with pytest.raises(ValueError, match=told):
        account.check(total, most, "out")


def test_reasons_are_counted_without_the_figures_of_a_row():
    errors = ["another length: 0.50 s are heard, the manifest says 1.20 s", "another length: 3.1 s", "longer than 30 s", None, ""]
    assert account.by_reason(errors) == {"another length": 2, "longer than … s": 1}
