"""The page of `spire inspect` shows and plays what was heard, and needs nothing beside itself."""

import base64
import io
import json
import re

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from spire_ray.audio import decode
from spire_ray.core import config, storage, tables
from spire_ray.shards.decoding import Decode
from spire_ray.stages import label
from spire_ray.tools import inspect


@pytest.fixture
def folder(tmp_path, tiny_codebook):
    """Eight clips of a second, the last of them shorter than its manifest says, and what label makes of them and a noisy copy."""
    draw = np.random.default_rng(0)
    rows = [
        {
            "utt_id": f"u{n}",
            "audio_filepath": f"{n}.wav",
            "duration": 1.0 if n < 7 else 2.0,
            "text": f"<dog> {n}",
            "split": "train",
        }
        for n in range(8)
    ]
    for n in range(8):
        soundfile.write(tmp_path / f"{n}.wav", draw.standard_normal(16_000) / 8, 16_000)
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tiny_codebook.save(str(tmp_path / "codebook"))
    given = {
        "stage": "label",
        "manifest": f"{tmp_path}/m.jsonl",
        "codebook": f"{tmp_path}/codebook",
        "output": f"{tmp_path}/units",
    }
    settings = config.load(json.dumps(given | {"shard_seconds": 3.0, "augment": {"copies": ["noise=5"], "share": 0.3}}))
    decoder, actor = Decode.of(settings), label.LabelShard(settings)
    for row in label._todo(settings, label._planned(settings))[0]:
        actor(decoder(pa.Table.from_pylist([row])))
    record = {"stage": "label", "status": "complete", "resolved": config.to_dict(settings)}
    storage.write_json(f"{tmp_path}/units/run.json", record)
    storage.write_json(f"{tmp_path}/units/fingerprint.json", tiny_codebook.fingerprint.to_dict())
    return tmp_path


def page(folder, path, *options):
    assert inspect.main([f"{folder}/{path}", "--page", f"{folder}/page.html", *options]) == 0
    return (folder / "page.html").read_text()


def heard(text):
    sounds = re.findall(r'src="data:audio/flac;base64,([^"]+)"', text)
    return [soundfile.read(io.BytesIO(base64.b64decode(sound)), dtype="int16")[0] for sound in sounds]


def test_units_are_ribbons_beside_what_was_heard_copies_too(folder):
    text = page(folder, "units", "--rows", "20")
    rows = {row["utt_id"]: row for row in tables.read(f"{folder}/units").to_pylist()}
    assert set(re.findall(r"<header><b>([^<]+)</b>", text)) == rows.keys() and any("~noise1" in name for name in rows)
    assert text.count("<rect ") == sum(len(row["units"]) for row in rows.values())
    assert "&lt;dog&gt; 3" in text and "<dog>" not in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    of_one = page(folder, "units", "--utt-id", "u3")
    (samples,) = heard(of_one)
    assert np.array_equal(samples, decode.load_pcm(f"{folder}/3.wav"))
    copy = next(name for name in rows if "~" in name)
    (noisy,) = heard(page(folder, "units", "--utt-id", copy))
    clean = decode.load_pcm(f"{folder}/{copy[1]}.wav").astype(float)
    assert 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2)) == pytest.approx(5, abs=0.2)


def test_rejected_rows_say_why(folder, capsys):
    text = page(folder, "units", "--only", "another length")
    assert re.findall(r"<header><b>([^<]+)</b>", text) == ["u7"]
    assert "another length: 1.00 s are heard, the manifest says 2.00 s" in text and len(heard(text)) == 1
    assert page(folder, "units", "--only", "rejected").count("<article") == 1
    assert inspect.main([f"{folder}/units", "--page", "p.html", "--only", "no reason"]) == 2
    assert "no row of that kind there" in capsys.readouterr().err


def test_rows_of_a_manifest_are_drawn_by_lot_and_one_without_audio_is_shown_with_its_reason(folder, capsys):
    (folder / "2.wav").unlink()
    text = page(folder, "m.jsonl", "--rows", "8")
    assert text.count("<article") == 8 and text.count("<audio") == 7 and "no such file" in text
    drawn = [re.findall(r"<header><b>([^<]+)</b>", page(folder, "m.jsonl", "--rows", "3", "--seed", seed)) for seed in "001"]
    assert drawn[0] == drawn[1] != drawn[2] and "3 of 8 rows" in capsys.readouterr().out
    assert inspect.main([f"{folder}/m.jsonl", "--page", "p.html", "--only", "rejected"]) == 2
    assert inspect.main([f"{folder}/m.jsonl", "--only", "rejected"]) == 2
    assert "go with --page" in capsys.readouterr().err
