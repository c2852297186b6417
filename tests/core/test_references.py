"""Whether a text is a folder or an id of the Hub is decided in one place, and a missing folder is never called an id."""

import pytest

from spire_ray.core import references
from spire_ray.core.fields import fields
from spire_ray.settings import EncoderSettings, ExtendModelSettings


def where(model, root="runs"):
    (field,) = [f for f in fields(ExtendModelSettings(model=model, codebook="", output="")) if f.key == "model"]
    return references.where(field, root)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "base").mkdir(parents=True)


@pytest.mark.parametrize(
    "text", ["Unbabel/TowerBase-7B-v0.1", "a/b@main", "HuggingFaceTB/SmolLM2-135M@12fd25f77366fa6b3b4b768ec3050bf629380bac"]
)
def test_an_id_of_the_hub(text):
    assert where(text) == references.ON_THE_HUB


@pytest.mark.parametrize("text", ["models/it", "runs/it", "./it/model", "/it", "it", "a/b/c", "~/it", "../x/y", "-a/b", "a/b@"])
def test_a_missing_folder_is_absent(text):
    assert where(text) == references.ABSENT


def test_a_missing_folder_below_the_root_is_absent_where_the_root_is_still_to_be_made():
    assert where("out/model", root="out") == references.ABSENT


def test_what_is_there_is_found():
    assert where("models/base") == references.FOUND


def test_an_encoder_without_weights_needs_no_folder():
    (field,) = [f for f in fields(EncoderSettings(name="mfcc")) if f.key == "name"]
    assert references.where(field) == references.FOUND
