"""A pack and a model belong together: the same tokenizer, the same units, rows that the positions hold."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from spire_ray.settings import HeldOutSettings, TrainingSettings, TrainSettings
from spire_ray.text import record
from spire_ray.tools import inspect
from spire_ray.training import plan as plan_train


@pytest.fixture
def settings(fresh_model, tiny_pack, tmp_path):
    (tmp_path / "zero1.json").write_text("{}")
    training = TrainingSettings(steps=9, global_batch_size=2)
    return TrainSettings(
        stage="cpt", output="out", model=fresh_model, pack=tiny_pack, deepspeed=f"{tmp_path}/zero1.json", training=training
    )


@pytest.fixture
def other(fresh_model, tmp_path):
    """The same model with the words of two ids changed for each other: the same codebook, the same sizes."""
    folder = shutil.copytree(fresh_model, tmp_path / "other")
    stated = json.loads((folder / "tokenizer.json").read_text())
    words = stated["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    (folder / "tokenizer.json").write_text(json.dumps(stated))
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("a") == words["a"]
    replace(record.load(str(folder)), tokenizer=record.tokenizer_hash(str(folder))).save(str(folder))
    return str(folder)


@pytest.mark.parametrize("stage", ["cpt", "it"])
def test_a_pack_of_another_tokenizer_is_refused_though_its_units_are_the_same(settings, other, stage):
    plan_train.plan(replace(settings, stage=stage, held_out=HeldOutSettings(pack=settings.pack)))
    with pytest.raises(ValueError, match=r"^pack=.*: was made with another tokenizer \(.*\) than that of model=.*other"):
        plan_train.plan(replace(settings, stage=stage, model=other))


def test_a_held_out_pack_of_another_tokenizer_is_refused(settings, tmp_path):
    held_out = Path(shutil.copytree(settings.pack, tmp_path / "held_out"))
    index = json.loads((held_out / "index.json").read_text())
    (held_out / "index.json").write_text(json.dumps(index | {"tokenizer": "another"}))
    with pytest.raises(ValueError, match=r"held_out: was made with another tokenizer \(another\)"):
        plan_train.plan(replace(settings, held_out=HeldOutSettings(pack=str(held_out))))


def test_a_pack_that_does_not_say_its_tokenizer_is_refused(settings, tmp_path):
    pack = Path(shutil.copytree(settings.pack, tmp_path / "pack"))
    index = json.loads((pack / "index.json").read_text())
    del index["tokenizer"]
    (pack / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"was made with another tokenizer \(None\)"):
        plan_train.plan(replace(settings, pack=str(pack)))


def test_a_pack_is_not_shown_in_the_words_of_another_model(settings, other, capsys):
    assert inspect.main([settings.pack, "--model", settings.model, "--rows", "1"]) == 0
    assert "Speech:" in capsys.readouterr().out
    assert inspect.main([settings.pack, "--model", other]) == 2
    assert "was made with another tokenizer" in capsys.readouterr().err


@pytest.mark.parametrize("field", ["pack", "held_out.pack"])
def test_rows_that_are_longer_than_the_positions_are_refused(settings, tmp_path, field):
    model = Path(shutil.copytree(settings.model, tmp_path / "short"))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 47}))
    changed = replace(settings, model=str(model))
    if field == "held_out.pack":
        (tmp_path / "absent").mkdir()
        changed = replace(changed, pack=str(tmp_path / "absent"), held_out=HeldOutSettings(pack=settings.pack))
    with pytest.raises(ValueError, match=rf"{field}=.*: its rows of 48 tokens are longer than the 47 positions of the model"):
        plan_train.plan(changed)
