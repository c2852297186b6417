"""No password that is planted anywhere is found in what is written."""

import json

import pytest

from spire_ray import cli
from spire_ray.core import command, redact

PASSWORD = "correct-horse-battery"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"http://me:{PASSWORD}@mlflow:5000/x", "http://***@mlflow:5000/x"),
        (f"postgresql://u:{PASSWORD}@db/mlflow'", "postgresql://***@db/mlflow'"),
        (f"see https://{PASSWORD}@host.example, then", "see https://***@host.example, then"),
        (f"s3://b/k?X-Amz-Signature={PASSWORD}&part=1", "s3://b/k?X-Amz-Signature=***&part=1"),
        (f"a?token={PASSWORD}", "a?token=***"),
        ("hf_" + "a" * 34, "***"),
        ("s3://bucket/me@home/x.wav", "s3://bucket/me@home/x.wav"),
        ("https://host/model@v1", "https://host/model@v1"),
        ("me@example.org wrote", "me@example.org wrote"),
    ],
)
def test_a_secret_is_known_by_its_form_and_what_is_none_stays(text, clean):
    assert redact.line(text) == clean


def test_the_value_of_a_secret_variable_is_written_nowhere(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{PASSWORD}/1")
    assert redact.value({"a": [f"key {PASSWORD}/1", 1], "b": None}) == {"a": ["key ***", 1], "b": None}


def test_what_a_command_prints_and_ends_with_holds_no_secret(capsys):
    @command.cli_errors("x")
    def fails(arguments):
        print(f"http://me:{PASSWORD}@host")
        raise ValueError(f"MLFLOW_TRACKING_URI=http://me:{PASSWORD}@host: no")

    assert fails() == command.USER_ERROR
    told = capsys.readouterr()
    assert (told.out, told.err) == ("http://***@host\n", "x: error: MLFLOW_TRACKING_URI=http://***@host: no\n")
    redact.traced(ValueError, ValueError(f"http://me:{PASSWORD}@host"), None)
    assert capsys.readouterr().err == "ValueError: http://***@host\n"


@pytest.mark.parametrize("where", ["storage.endpoint_url", "AWS_ENDPOINT_URL"])
def test_an_endpoint_with_a_password_is_refused_without_it(where, tmp_path, capsys, monkeypatch):
    url = f"http://me:{PASSWORD}@minio:9000"
    given = {"stage": "label", "manifest": "m", "codebook": "c", "output": f"{tmp_path}/out"}
    if where == "AWS_ENDPOINT_URL":
        monkeypatch.setenv(where, url)
    else:
        given["storage"] = {"endpoint_url": url}
    assert cli.main(["label", "--config", json.dumps(given)]) == 2
    assert f"{where}=http://***@minio:9000: holds a password" in capsys.readouterr().err


def test_no_planted_secret_is_in_any_file_of_a_job(ray_session, tmp_path, capsys, monkeypatch):
    """The password of the tracking server and a token of the Hub, in the record, in what is kept for MLflow and in its words."""
    from spire_ray.runtime import spool

    token = "hf_" + "Q" * 34
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{PASSWORD}@127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", token)
    base = {"stage": "corpus", "output": f"{tmp_path}/out", "languages": ["de"], "workers": 1}
    base |= {"splits": {"train": 4, "dev": 1, "test": 1}, "tracking": {"run_name": f"see https://me:{PASSWORD}@x {token}"}}
    assert cli.main(["corpus", "--config", json.dumps(base)]) == 0
    told = capsys.readouterr()
    assert "spire track replay" in told.out and spool.read(f"{tmp_path}/out")
    written = told.out + told.err
    for file in (tmp_path / "out").rglob("*.json*"):
        written += file.read_text()
    written += "".join(event["content"].decode() for event in spool.read(f"{tmp_path}/out") if "content" in event)
    assert "run.json" in {file.name for file in (tmp_path / "out").iterdir()}
    assert PASSWORD not in written and token not in written
