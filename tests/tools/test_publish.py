"""What is put on the Hub is a model that hears, its card and nothing else."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import yaml
from huggingface_hub import errors

from spire_ray.quickstart.bundle import FOLDER, clips
from spire_ray.tools import publish


@pytest.fixture
def model(tmp_path):
    """The bundled model, with files that are nobody's business."""
    folder = tmp_path / "model"
    shutil.copytree(FOLDER / "model", folder)
    (folder / "run.json").write_text('{"stage": "export", "status": "complete"}')
    (folder / "notes.txt").write_text("/home/me")
    (folder / "codebook" / ".hidden").write_text("x")
    for name in ("checkpoint-9/optimizer.safetensors", "tokenizer_old/private/x.txt"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("x")
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub that keeps what it gets in a folder."""
    place = tmp_path / "hub"

    class Api:
        def create_repo(self, name, private, exist_ok):
            assert name == "me/hears" and exist_ok
            (place / ("private" if private else "public")).mkdir(parents=True)

        def repo_info(self, name):
            return SimpleNamespace(private=not (tmp_path / "was-public").exists())

        def create_commit(self, name, operations, commit_message):
            for each in operations:
                path = place / each.path_in_repo
                path.parent.mkdir(parents=True, exist_ok=True)
                with each.as_file() as file:
                    path.write_bytes(file.read())
            return SimpleNamespace(commit_url=f"https://huggingface.co/{name}/commit/1")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return place


def head(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_what_arrives_hears_and_has_a_card_that_names_it(model, hub, capsys):
    assert publish.main([str(model), "me/hears", "--license", "apache-2.0", "--private"]) == 0
    told = capsys.readouterr().out
    assert "apache-2.0 → https://huggingface.co/me/hears" in told and told.endswith("/commit/1\n")
    assert (hub / "private").exists()
    names = {str(path.relative_to(hub)) for path in hub.rglob("*") if path.is_file()}
    assert {"model.safetensors", "codebook/codebook.json", "spire.json", "README.md"} <= names
    assert not names & {"run.json", "notes.txt", "codebook/.hidden"}
    assert not any(name.startswith(("checkpoint", "tokenizer_old")) for name in names)
    card = (hub / "README.md").read_text()
    assert head(card)["license"] == "apache-2.0" and "--model me/hears" in card and 'from_pretrained("me/hears")' in card
    from spire_ray import SpeechToText

    clip = clips()[0]["path"]
    before, after = (SpeechToText.from_pretrained(str(place)).transcribe(clip).text for place in (model, hub))
    assert before == after


def test_what_is_to_be_private_does_not_go_to_a_repository_that_is_public(model, hub, tmp_path, capsys):
    (tmp_path / "was-public").touch()
    assert publish.main([str(model), "me/hears", "--license", "apache-2.0", "--private"]) == 2
    assert "--private: me/hears is there already and public" in capsys.readouterr().err
    assert not (hub / "model.safetensors").exists()


def test_a_dry_run_sends_nothing(model, hub, capsys):
    assert publish.main([str(model), "me/hears", "--license", "apache-2.0", "--dry-run"]) == 0
    assert "model.safetensors" in capsys.readouterr().out and not hub.exists()


@pytest.mark.parametrize(
    ("change", "arguments", "why"),
    [
        (lambda m: None, ["me"], "expected the name of a user or organization"),
        (
            lambda m: (m / "README.md").write_text("---\nlibrary_name: transformers\n---\n\n# it\n"),
            ["me/hears"],
            "neither its data nor its base model state one",
        ),
        (lambda m: (m / "spire.json").unlink(), ["me/hears"], "no spire.json there"),
        (lambda m: shutil.rmtree(m / "codebook"), ["me/hears"], "has no codebook/"),
        (lambda m: (m / "model.safetensors").unlink(), ["me/hears"], "has no *.safetensors"),
        (lambda m: (m / "run.json").write_text('{"stage": "export", "status": "began"}'), ["me/hears"], "has not finished there"),
        (
            lambda m: (m / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n\n# it\n"),
            ["me/hears", "--license", "apache-2.0"],
            "its card says cc-by-nc-4.0",
        ),
    ],
)
def test_what_is_no_model_for_the_hub_is_refused(model, hub, capsys, change, arguments, why):
    change(model)
    assert publish.main([str(model), *arguments]) == 2
    assert why in capsys.readouterr().err and not hub.exists()


def test_what_the_hub_says_is_told_in_one_line(model, hub, capsys, monkeypatch):
    def refuses(self, *given, **more):
        raise errors.LocalTokenNotFoundError("Token is required")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuses)
    assert publish.main([str(model), "me/hears", "--license", "apache-2.0"]) == 2
    assert "no token: `hf auth login`" in capsys.readouterr().err
    assert Path(model / "run.json").exists()
