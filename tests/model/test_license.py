"""The gate of licenses: what a card states, wherever it lies, is accepted by name or refused."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from spire_ray.core import provenance, storage
from spire_ray.model import license
from spire_ray.runtime.tracking import Runs
from spire_ray.tools import transcribe


def card(folder, head):
    folder.mkdir(exist_ok=True)
    (folder / "README.md").write_text(f"---\n{head}\n---\n# A model\n")
    return str(folder)


@pytest.fixture
def hub(monkeypatch):
    """A Hub of one gated model, and how often it was asked."""
    from huggingface_hub import HfApi, errors

    asked = []

    def info(self, name, **more):
        asked.append((name, more["revision"]))
        if name == "some/offline":
            raise errors.OfflineModeIsEnabled("offline mode is enabled")
        return SimpleNamespace(card_data={"license": "cc-by-nc-sa-4.0"} if name == "Unbabel/kiwi" else None)

    monkeypatch.setattr(HfApi, "model_info", info)
    return asked


@pytest.mark.parametrize(
    ("head", "stated"),
    [
        ("license: apache-2.0", "apache-2.0"),
        ("license: [apache-2.0, cc-by-nc-4.0]", "apache-2.0, cc-by-nc-4.0"),
        ("license:\n- mit", "mit"),
        ("license: other\nlicense_name: mistral-research", "mistral-research"),
        ("license: other", "other"),
        ("license:", ""),
        ("- no\n- mapping", ""),
    ],
)
def test_what_a_card_states(tmp_path, head, stated):
    assert license.license(card(tmp_path, head)) == stated


@pytest.mark.parametrize(
    "name", ["cc-by-nc-4.0", "CC-BY-NC-SA-4.0", "mistral-research", "x-non-commercial", "x-noncommercial", "nc-x"]
)
@pytest.mark.parametrize("form", ["license: {}", "license: [mit, {}]", "license: other\nlicense_name: {}"])
def test_a_non_commercial_license_is_refused_until_it_is_accepted_by_name(tmp_path, name, form):
    model = card(tmp_path, form.format(name))
    with pytest.raises(ValueError, match=rf"its license {name} is non-commercial; to accept it set license.accept=\[{name}\]"):
        license.check(model, ("mit",))
    assert name in license.check(model, (name.lower(),))


@pytest.mark.parametrize("name", ["apache-2.0", "cc-by-sa-4.0", "llama2", "gemma", "incense-1.0"])
def test_a_license_for_everybody_passes(tmp_path, name):
    assert license.check(card(tmp_path, f"license: {name}"), ()) == name


def test_a_card_in_a_bucket_is_read(s3):
    storage.write_bytes("s3://spire/model/README.md", b"---\nlicense: cc-by-nc-4.0\n---\n")
    with pytest.raises(ValueError, match="non-commercial"):
        license.check("s3://spire/model", ())


def test_the_card_of_a_hub_is_read_before_its_model_is_used(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"its license cc-by-nc-sa-4\.0 is non-commercial"):
        license.check("Unbabel/kiwi@v2", ())
    assert license.check("Unbabel/kiwi", ("cc-by-nc-sa-4.0",)) == "cc-by-nc-sa-4.0"
    assert license.check("some/plain", ()) == ""
    assert hub == [("Unbabel/kiwi", "v2"), ("Unbabel/kiwi", None), ("some/plain", None)]


def test_a_card_that_cannot_be_read_is_refused_until_its_model_is_accepted(hub):
    with pytest.raises(ValueError, match=r"its license cannot be read \(offline.*set license.accept=\[some/offline\]"):
        license.check("some/offline", ("cc-by-nc-4.0",))
    assert license.check("some/offline@v1", ("some/offline",)) == ""


def test_an_encoder_of_the_hub_is_asked_about_with_its_revision(hub):
    with pytest.raises(ValueError, match="non-commercial"):
        license.check_encoder("Unbabel/kiwi", (), "v3")
    license.check_encoder("mfcc", ())
    assert hub == [("Unbabel/kiwi", "v3")]


def test_transcribe_and_the_service_ask_for_consent(tiny_model, tmp_path, capsys):
    import shutil

    from spire_ray.serving import app
    from spire_ray.settings import LicenseSettings, ServeSettings

    model = shutil.copytree(tiny_model, tmp_path / "model")
    card(model, "license: cc-by-nc-4.0")
    assert transcribe.main(["absent.wav", "--model", str(model)]) == 2
    assert "is non-commercial; to accept it set --accept cc-by-nc-4.0" in capsys.readouterr().err
    assert transcribe.main(["absent.wav", "--model", str(model), "--accept", "cc-by-nc-4.0"]) == 2
    captured = capsys.readouterr()
    assert "absent.wav: no such file" in captured.err and not captured.out
    with pytest.raises(ValueError, match=r"set license.accept=\[cc-by-nc-4.0\]"):
        app.application(ServeSettings(model=str(model), output=""))
    app.application(ServeSettings(model=str(model), output="", license=LicenseSettings(accept=("cc-by-nc-4.0",))))


# --- where a model and its data come from ---------------------------------------------------------------------------


def test_a_model_is_traced_to_the_hub_through_every_stage(tmp_path):
    def made(name, **resolved):
        storage.write_json(f"{tmp_path}/{name}/run.json", {"stage": "s", "status": "complete", "resolved": resolved, "facts": {}})
        return f"{tmp_path}/{name}"

    storage.write_json(f"{tmp_path}/models/_done/TowerBase.json", {"model": "Unbabel/TowerBase@main"})
    (tmp_path / "models" / "TowerBase").mkdir()
    extended = made("extended", model=f"{tmp_path}/models/TowerBase", codebook="c")
    training = made("cpt", model=extended, pack="p", training={"steps": 9})
    exported = made("export", training=training)
    assert provenance.hub_model(exported) == "Unbabel/TowerBase"
    assert provenance.hub_model("Unbabel/TowerBase@v1") == "Unbabel/TowerBase"
    assert provenance.hub_model(made("scratch", text="t")) == provenance.hub_model(f"{tmp_path}/mine") == ""


def test_the_datasets_of_rows_are_those_of_the_hub(tmp_path):
    for name, hub in (("mls", "facebook/mls@v1"), ("mine", "")):
        storage.write_json(f"{tmp_path}/{name}/corpus.json", {"corpus": name, "license": "cc-by-4.0", "hub": hub})
    assert provenance.datasets_of(f"{tmp_path}/mls/part-0.parquet") == ["facebook/mls"]
    assert provenance.datasets_of(f"{tmp_path}/mine") == provenance.datasets_of(f"{tmp_path}/none") == []


def test_a_folder_with_an_apostrophe_has_a_run(tmp_path):
    runs = Runs(f"sqlite:///{tmp_path}/mlflow.db", "x")
    parent = runs.start("/data/anna's 100%/recipe", "parent", "", {}, {})
    child = runs.start("/data/anna's 100%/out", "child", "/data/anna's 100%/recipe", {}, {})
    assert runs.start("/data/anna's 100%/out", "child", "", {}, {}) == child  # and is found again
    assert runs._client.get_run(child).data.tags["mlflow.parentRunId"] == parent


def test_the_library_of_the_hub_is_not_needed_for_folders(tmp_path):
    program = "import sys; sys.modules['huggingface_hub'] = None\nfrom spire_ray.model import license\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}license.check({str(tmp_path)!r}, ())"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
