"""Units that were made in different ways are told apart, measured, and refused where that is asked for."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from spire_ray import cli
from spire_ray.core import config, storage, tables
from spire_ray.manifest.schema import UNITS
from spire_ray.settings import LabelSettings, UnitSettings
from spire_ray.shards import marks
from spire_ray.stages import label
from spire_ray.tools import units
from spire_ray.units.labeler import Labeler


def folder(path, fingerprint, rows, numerics=None):
    """Rows (id, units, durations) as an output of the stage label, two in a part."""
    for part, start in enumerate(range(0, len(rows), 2)):
        made = [
            {"utt_id": utt_id, "units": ids, "durations": counts, "status": "labelled" if ids else "rejected"}
            for utt_id, ids, counts in rows[start : start + 2]
        ]
        tables.write(marks.part(str(path), part), pa.Table.from_pylist(made, schema=UNITS))
        marks.write(str(path), part, marks.Mark(rows=2, numerics=numerics or {}))
    storage.write_json(f"{path}/fingerprint.json", fingerprint.to_dict())
    return str(path)


@pytest.fixture
def pair(tmp_path, tiny_codebook):
    one = folder(
        tmp_path / "one", tiny_codebook.fingerprint,
        [("a", [1, 2], [3, 1]), ("b", [4], [2]), ("c", [5, 6], [1, 1]), ("gone", [7], [9]), ("bad", [], [])],
        {"dtype": "float32", "torch": "2.13"},
    )  # fmt: skip
    other = folder(
        tmp_path / "other", tiny_codebook.fingerprint,
        [("c", [5, 6], [1, 1]), ("a", [1, 3], [2, 2]), ("b", [4], [3]), ("new", [7], [9])],
        {"dtype": "bfloat16", "torch": "2.13"},
    )  # fmt: skip
    return one, other


def test_agreement_is_counted_frame_by_frame_and_by_utterance(pair, capsys):
    assert units.main(["agree", *pair]) == 0
    out = capsys.readouterr().out
    assert "3 utterances in both, 2 in one alone; 33.33% identical" in out
    # of a 2 of 4 frames agree, of b 2 of 3, of c both
    assert "66.6667% of 9 frames agree" in out
    assert "dtype: float32 against bfloat16" in out and "torch" not in out
    assert units.main(["agree", pair[0], pair[0]]) == 0
    assert "4 utterances in both, 0 in one alone; 100.00% identical" in capsys.readouterr().out


def test_units_of_another_weight_are_compared_and_of_another_codebook_refused(pair, tiny_codebook, capsys):
    identity = tiny_codebook.fingerprint.identity
    for changes, status, told in (
        ({"weights": "other"}, 0, f"weights: {identity.weights} against other"),
        ({"codebook": "other"}, 2, "do not mean the same: codebook"),
        ({"frame_rate": 12.5}, 2, "frame_rate"),
    ):
        changed = replace(tiny_codebook.fingerprint, identity=replace(identity, **changes))
        storage.write_json(f"{pair[1]}/fingerprint.json", changed.to_dict())
        assert units.main(["agree", *pair]) == status
        captured = capsys.readouterr()
        assert told in captured.out + captured.err
    assert units.main(["agree", pair[0], pair[0] + "/none"]) == 2
    assert "no fingerprint.json" in capsys.readouterr().err


def test_folders_without_a_shared_utterance_are_refused(tmp_path, tiny_codebook, capsys):
    made = [folder(tmp_path / name, tiny_codebook.fingerprint, [(name, [1], [1])]) for name in ("x", "y")]
    assert units.main(["agree", *made]) == 2
    assert "no utterance is labelled in both" in capsys.readouterr().err


def test_a_labeler_says_what_decides_its_last_bits(tiny_codebook):
    import torch
    import transformers

    numerics = Labeler(tiny_codebook).numerics
    assert (numerics["dtype"], numerics["device"]) == ("float32", "cpu")
    assert (numerics["torch"], numerics["transformers"]) == (torch.__version__, transformers.__version__)
    assert numerics["processor"] == torch.backends.cpu.get_cpu_capability()


def test_mixed_numerics_warn_and_are_refused_when_strict(pair, capsys):
    marks.check_numerics([pair[0]], strict=True)
    assert not capsys.readouterr().out
    marks.check_numerics(pair, strict=False)
    assert "warning: units were made in different ways: dtype bfloat16 and float32; units.strict" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"units\.strict=true: .* dtype bfloat16 and float32"):
        marks.check_numerics(pair, strict=True)


def test_a_strict_job_is_not_gone_on_with_in_another_way(tmp_path, tiny_codebook):
    tiny_codebook.save(str(tmp_path / "codebook"))
    numerics = {**Labeler(tiny_codebook).numerics, **label.NUMERICS}
    settings = LabelSettings(
        manifest="m", codebook=str(tmp_path / "codebook"), output=str(tmp_path / "out"), units=UnitSettings(strict=True)
    )
    folder(tmp_path / "out", tiny_codebook.fingerprint, [("a", [1], [1])], numerics)
    label.LabelShard(settings)
    folder(tmp_path / "out", tiny_codebook.fingerprint, [("a", [1], [1])], {**numerics, "dtype": "bfloat16"})
    with pytest.raises(ValueError, match=r"units\.strict=true: .*out was made with dtype bfloat16, and this worker has float32"):
        label.LabelShard(settings)
    label.LabelShard(replace(settings, units=UnitSettings()))


def test_strictness_is_no_part_of_what_a_folder_is():
    loose = LabelSettings(manifest="m", codebook="c", output="o")
    assert config.identity(loose) == config.identity(replace(loose, units=UnitSettings(strict=True)))


@pytest.mark.parametrize(("cut", "recordings"), [(0.0, "whole"), (30.0, "cut 30s")])
def test_units_of_cut_recordings_are_told_from_those_of_whole_ones(
    ray_session, tmp_path, tiny_codebook, monkeypatch, cut, recordings
):
    import numpy as np
    import soundfile

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    soundfile.write(tmp_path / "a.flac", np.random.default_rng(0).standard_normal(16_000) / 8, 16_000)
    row = {"audio_filepath": "a.flac", "duration": 1.0, "utt_id": "a", "text": "x", "language": "en"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
    tiny_codebook.save(str(tmp_path / "codebook"))
    given = {
        "stage": "label", "manifest": f"{tmp_path}/m.jsonl", "codebook": f"{tmp_path}/codebook", "output": f"{tmp_path}/out",
        "cut_seconds": cut, "workers": 1, "tracking": {"enabled": False},
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(json.dumps(given))
    assert cli.main(["label", "--config", f"{tmp_path}/c.yaml"]) == 0
    made = storage.read_json(f"{tmp_path}/out/fingerprint.json")
    assert made["identity"]["recordings"] == recordings
    [mark] = marks.read(f"{tmp_path}/out")
    assert {"dtype", "device", "processor", "torch", "transformers", "decoder", "resampler"} <= mark.numerics.keys()
