"""The tool transcribe: text for good clips, one line with the reason for everything else."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from spire_ray.tools import transcribe
from spire_ray.units.codebook import Codebook


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    noise = np.random.default_rng(1).standard_normal(16_000 * 60) / 8
    for name, seconds in (("one", 1), ("two", 2), ("short", 0.01), ("long", 60)):
        soundfile.write(folder / f"{name}.wav", noise[: int(16_000 * seconds)], 16_000)
    (folder / "text.wav").write_text("no audio")
    return folder


def run(capsys, *arguments):
    status = transcribe.main([*map(str, arguments), "--max-new-tokens", "64"])
    captured = capsys.readouterr()
    return status, captured.out.splitlines(), captured.err.splitlines()


def test_one_line_for_each_clip_and_reasons_for_the_bad_ones(capsys, clips, tiny_model):
    given = [clips / f"{name}.wav" for name in ("one", "text", "absent", "short", "two")]
    status, out, err = run(capsys, *given, "--model", tiny_model)
    assert status == 2
    assert [line.split("\t")[0] for line in out] == [str(given[0]), str(given[-1])]
    assert all(line.split("\t")[1] for line in out)
    reasons = ["not readable as audio", "no such file", "shorter than one frame"]
    assert len(err) == len(reasons)
    for line, clip, reason in zip(err, given[1:], reasons, strict=False):
        assert line.startswith(f"transcribe: error: {clip}: ") and reason in line


def test_a_recording_of_any_length_is_one_line(capsys, clips, tiny_model):
    status, out, err = run(capsys, clips / "long.wav", "--model", tiny_model)
    assert (status, len(out), err) == (0, 1, [])
    assert len(out[0]) > len(run(capsys, clips / "one.wav", "--model", tiny_model)[1][0])


def test_text_does_not_depend_on_the_other_clips_and_the_translation_is_another(capsys, clips, tiny_model):
    both = run(capsys, clips / "one.wav", clips / "two.wav", "--model", tiny_model)
    alone = run(capsys, clips / "two.wav", "--model", tiny_model, "--codebook", f"{tiny_model}/codebook")
    assert both[0] == alone[0] == 0
    assert both[1][1:] == alone[1]
    german = run(capsys, clips / "two.wav", "--model", tiny_model, "--to", "German")
    assert german[1] == run(capsys, clips / "two.wav", "--model", tiny_model, "--to", "de")[1] != alone[1]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--to", "Klingon"], "language 'Klingon' is unknown; known are en"),
        (["--model", "/no/such/folder"], "no such folder"),
        (["--model", "a/b/c"], "not a Hugging Face id"),
        (["--codebook", "/no/such/codebook"], "no codebook.json there"),
        (["--device", "cuda"], "no GPU"),
    ],
)
def test_what_the_user_can_mend_is_one_line(capsys, clips, tiny_model, options, reason):
    status, out, err = run(capsys, clips / "one.wav", "--model", tiny_model, *options)
    assert (status, out, len(err)) == (2, [], 1)
    assert reason in err[0]


def test_a_model_without_units_and_a_foreign_codebook_are_refused(capsys, clips, tiny_model, tiny_codebook, tmp_path):
    other = Codebook.create(tiny_codebook.centroids + 1, tiny_codebook.encoder, tiny_codebook.fingerprint.identity, {})
    other.save(str(tmp_path / "other"))
    status, _, err = run(capsys, clips / "one.wav", "--model", tiny_model, "--codebook", tmp_path / "other")
    assert status == 2 and len(err) == 1
    assert "do not mean the same: codebook" in err[0]
    shutil.copytree(tiny_model, tmp_path / "mute", ignore=shutil.ignore_patterns("spire.json"))
    status, _, err = run(capsys, clips / "one.wav", "--model", tmp_path / "mute")
    assert status == 2 and len(err) == 1
    assert "stage extend_model" in err[0]


def test_a_hub_id_is_fetched_at_its_revision(capsys, clips, tiny_model, monkeypatch):
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **more: asked.append((name, more)) or tiny_model)
    status, out, _ = run(capsys, clips / "one.wav", "--model", "someone/spire@v2")
    assert status == 0 and len(out) == 1
    assert asked[0][0] == "someone/spire" and asked[0][1]["revision"] == "v2"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("GatedRepoError", "accept its terms at https://huggingface.co/someone/spire and set HF_TOKEN"),
        ("RepositoryNotFoundError", "if it is private, set HF_TOKEN"),
        ("RevisionNotFoundError", "no revision 'v2'"),
        ("LocalEntryNotFoundError", "out of reach"),
    ],
)
def test_a_model_that_cannot_be_had_says_what_to_do(capsys, clips, monkeypatch, name, reason):
    from huggingface_hub import errors

    kind = getattr(errors, name)

    def refuse(*_, **__):
        raise kind.__new__(kind)

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    status, _, err = run(capsys, clips / "one.wav", "--model", "someone/spire@v2")
    assert status == 2 and len(err) == 1
    assert reason in err[0]


def test_offline_is_one_line(clips, tmp_path):
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": ""}
    program = "import sys; from spire_ray.cli import main; sys.exit(main())"
    call = [sys.executable, "-c", program, "transcribe", str(clips / "one.wav"), "--model", "someone/spire"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "unset HF_HUB_OFFLINE" in done.stderr


def test_ray_is_not_needed(clips, tiny_model):
    program = (
        "import sys, json\n"
        "sys.modules['ray'] = None\n"
        "from spire_ray.tools.transcribe import main\n"
        "sys.exit(main(json.loads(sys.argv[1])))"
    )
    arguments = json.dumps([str(clips / "one.wav"), "--model", tiny_model])
    done = subprocess.run([sys.executable, "-c", program, arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{clips / 'one.wav'}\t")


def test_help_imports_nothing_heavy():
    program = (
        "import sys\n"
        "from spire_ray.tools.transcribe import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "finally:\n"
        "    assert not {'torch', 'transformers', 'pyarrow', 'numpy'} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--codebook" in done.stdout
