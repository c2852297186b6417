"""Checkpoint to model folder: the weights are those that were trained."""

import dataclasses
import filecmp
import json
import shutil

import pytest
import torch

from spire_ray.model.export import export
from spire_ray.settings import LoraSettings, OptimizerSettings, TrainingSettings

TRAINING = TrainingSettings(
    steps=3, global_batch_size=2, optimizer=OptimizerSettings(lr=1e-2, warmup_steps=0), save_every=2, keep=2, log_every=1
)


@pytest.fixture(scope="module")
def training(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    _, weights = trained(folder, TRAINING)
    return folder, weights


@pytest.fixture(scope="module")
def exported(training, fresh_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return folder, export(str(training[0]), fresh_model, str(folder), torch.float32)


def test_the_exported_model_has_the_trained_weights(training, exported):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(exported[0], dtype=torch.float32)
    state = model.state_dict()
    assert state.keys() == training[1].keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in training[1].items())
    assert exported[1]["step"] == 3


def test_the_tokenizer_and_the_unit_vocabulary_come_along(exported, fresh_model):
    from transformers import AutoTokenizer

    tokenizer, base = AutoTokenizer.from_pretrained(exported[0]), AutoTokenizer.from_pretrained(fresh_model)
    text = "Speech: \U000f0000\U000f0013\nEnglish: the dog<|im_end|>"
    assert tokenizer(text)["input_ids"] == base(text)["input_ids"]
    assert tokenizer.chat_template == base.chat_template
    assert filecmp.cmp(exported[0] / "spire.json", f"{fresh_model}/spire.json", shallow=False)


def test_bfloat16_halves_the_file_and_rounds_the_weights(training, exported, fresh_model, tmp_path):
    from safetensors.torch import load_file

    export(str(training[0]), fresh_model, str(tmp_path), torch.bfloat16)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    whole, half = load_file(exported[0] / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(half[name], tensor.bfloat16()) for name, tensor in whole.items())


def test_a_damaged_last_checkpoint_is_passed_for_the_one_before(training, fresh_model, tmp_path):
    shutil.copytree(training[0], tmp_path / "training")
    (tmp_path / "training" / "step-00000003" / "COMPLETE.json").unlink()
    assert export(str(tmp_path / "training"), fresh_model, str(tmp_path / "out"), torch.float32)["step"] == 2


def test_without_a_complete_checkpoint_there_is_nothing_to_export(fresh_model, tmp_path):
    with pytest.raises(ValueError, match="no complete checkpoint there"):
        export(str(tmp_path), fresh_model, str(tmp_path / "out"), torch.float32)


@pytest.mark.parametrize("kind", ["full", "lora", "units_only", "new rows apart"])
def test_reloaded_logits_equal_those_of_the_trainer(trained, fresh_model, tmp_path, kind):
    from transformers import AutoModelForCausalLM

    from spire_ray.stages._train import new_rows
    from spire_ray.training import trainable

    part = (
        {"optimizer": OptimizerSettings(lr=1e-2, new_rows_lr=3e-2, warmup_steps=0)}
        if kind == "new rows apart"
        else {"trainable": kind}
    )
    settings = dataclasses.replace(TRAINING, lora=LoraSettings(rank=4, alpha=8), **part)
    _, weights = trained(tmp_path / "training", settings)
    export(str(tmp_path / "training"), fresh_model, str(tmp_path / "out"), torch.float32, settings.lora)
    trainer = AutoModelForCausalLM.from_pretrained(fresh_model, dtype=torch.float32)
    untrained = trainer(torch.arange(300)[None]).logits
    trainable.prepare(trainer, settings, new_rows(fresh_model)[1])
    trainer.load_state_dict(weights)
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    with torch.inference_mode():
        expected, found = (model(torch.arange(300)[None]).logits for model in (trainer, reloaded))
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, untrained, atol=1e-3)
