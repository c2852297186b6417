"""Two drivers on one output, of machines whose clocks are an hour apart: the second is refused, the first goes on."""

import time

import pytest

from spire_ray.shards import marks
from spire_ray.tools._audit_units import audit_folder
from tests.faults.short_job import NAMESPACE, ROWS, requires_namespace, start, waited

pytestmark = pytest.mark.long
KINDS = ("--uts", "--pid", "--fork", "--mount-proc")


@pytest.mark.parametrize("ahead", [-3600, 3600], ids=["behind", "ahead"])
def test_the_second_driver_is_refused_while_the_first_lives_though_its_clock_is_an_hour_off(short_corpus, ahead):
    requires_namespace(*KINDS)
    first = start(short_corpus, "workers=2", SPIRE_TEST_CLOCK=str(ahead), SPIRE_TEST_PAUSE="3")
    assert waited(lambda: marks.done(f"{short_corpus}/units"), 120)
    began = time.monotonic()
    elsewhere = [*NAMESPACE, *KINDS, "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"]
    second = start(short_corpus, "workers=2", inside=elsewhere)
    said, errors = second.communicate(timeout=120)
    print(f"refused after {time.monotonic() - began:.0f} s")
    assert first.poll() is None and "waiting to see whether that lives" in said
    assert second.returncode == 2 and "is writing there; wait for it, or end it first" in errors and errors.count("\n") == 1
    _, errors = first.communicate(timeout=300)
    assert first.returncode == 0, errors
    found = audit_folder(f"{short_corpus}/units")
    assert (found.labelled, found.faults, found.rejected) == (ROWS, 0, {})
