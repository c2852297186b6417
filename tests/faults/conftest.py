"""What several drills share."""

import json

import numpy as np
import pytest
import soundfile

from tests.faults.short_job import ROWS


@pytest.fixture
def short_corpus(tmp_path, tiny_codebook):
    """A folder with a manifest of 40 shards of six short clips, and a codebook."""
    (tmp_path / "wav").mkdir()
    for number in range(6):
        soundfile.write(tmp_path / "wav" / f"{number}.wav", np.random.default_rng(number).standard_normal(8_000) / 8, 16_000)
    rows = [{"utt_id": f"u{n}", "audio_filepath": f"wav/{n % 6}.wav", "duration": 0.5} for n in range(ROWS)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tiny_codebook.save(str(tmp_path / "codebook"))
    return tmp_path
