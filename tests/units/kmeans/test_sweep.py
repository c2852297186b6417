"""The sweep tables each layer and size, and finds the layer whose units are the phones."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from spire_ray.manifest.schema import MANIFEST
from spire_ray.tools import units


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """60 clips of two tones in turn, 0.2 s each, with their times; one clip is no audio."""
    folder = tmp_path_factory.mktemp("corpus")
    draw = np.random.default_rng(0)
    rows, aligned = [], []
    time = np.arange(3_200) / 16_000
    for number in range(60):
        tones = [str(tone) for tone in draw.choice([400, 1_500, 3_000], 5)]
        samples = np.concatenate([np.sin(2 * np.pi * int(tone) * time) / 3 for tone in tones])
        buffer = io.BytesIO()
        soundfile.write(buffer, samples + draw.standard_normal(len(samples)) / 100, 16_000, format="WAV")
        rows.append({"utt_id": f"u{number}", "audio": {"bytes": buffer.getvalue()}, "duration": 1.0, "split": "train"})
        phonemes = [{"symbol": tone, "start": 0.2 * i, "end": 0.2 * (i + 1)} for i, tone in enumerate(tones)]
        aligned.append({"utt_id": f"u{number}", "phonemes": phonemes})
    rows.append({"utt_id": "bad", "audio": {"bytes": b"no audio"}, "duration": 1.0, "split": "train"})
    pq.write_table(pa.Table.from_pylist(rows, MANIFEST), folder / "m.parquet")
    pq.write_table(pa.Table.from_pylist(aligned), folder / "a.parquet")
    return folder


def swept(corpus, output, *more):
    given = ["sweep", f"{corpus}/m.parquet", str(output), "--encoder", "mfcc", "--layers", "1", "--k", "3,12"]
    return units.main([*given, "--iterations", "5", *more])


def test_a_table_a_file_and_a_picture(corpus, tmp_path, capsys):
    assert swept(corpus, tmp_path, "--alignments", f"{corpus}/a.parquet") == 0
    told = capsys.readouterr()
    assert "bad: not readable as audio" in told.err
    assert len([line for line in told.out.splitlines() if line.split()[:1] == ["1"]]) == 2
    few, many = json.loads((tmp_path / "sweep.json").read_text())["rows"]
    assert (few["clusters"], many["clusters"]) == (3, 12)
    assert many["held_out_inertia"] < few["held_out_inertia"]
    assert few["pnmi"] > 0.5  # three tones, three units
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_columns_of_other_names_and_long_recordings(corpus, tmp_path, capsys):
    table = pq.read_table(corpus / "m.parquet").rename_columns({"audio": "sound", "split": "part"})
    pq.write_table(table, corpus / "other.parquet")
    given = ["sweep", f"{corpus}/other.parquet", str(tmp_path), "--encoder", "mfcc", "--layers", "1", "--k", "3"]
    assert units.main([*given, "--column", "audio=sound", "--column", "split=part", "--max-seconds", "0.5"]) == 2
    assert "u0: longer than 0.5 s" in capsys.readouterr().err
    assert units.main([*given, "--column", "audio=sound", "--column", "split=part", "--iterations", "2"]) == 0


def test_more_than_ten_hours_are_refused(corpus, tmp_path, capsys):
    assert swept(corpus, tmp_path, "--hours", "11") == 2
    assert "--hours 11: must be more than 0 and at most 10" in capsys.readouterr().err
