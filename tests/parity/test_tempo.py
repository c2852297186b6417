"""Another tempo is that of SoX's effect `tempo`, which Lhotse's perturb_tempo calls."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from spire_ray.audio import decode

GIVEN = Path(__file__).parent / "sox_tempo"
"""A second of the bundled voice, and what SoX 14.4.2 makes of it: `sox -D speech.flac -b 16 tempo-0.9.flac tempo 0.9`."""


@pytest.mark.parametrize("factor", ["0.9", "1.1"])
def test_every_sample_is_that_of_sox(factor):
    by_sox, _ = soundfile.read(GIVEN / f"tempo-{factor}.flac", dtype="float32")
    found = decode.load(f"{GIVEN}/speech.flac#tempo={factor}")
    assert len(found) == len(by_sox)
    assert np.abs(found - by_sox).max() <= 1 / 2**15  # which is written in 16 bits
