"""Rows that documents need and the base model never trained are trained with the new ones, wherever they stand."""

import dataclasses
import json

import pytest
import torch

from spire_ray.model.export import export
from spire_ray.model.extend import extend
from spire_ray.model.extension import control_rows, new_rows
from spire_ray.packs.pack import Document, write
from spire_ray.settings import ExtendModelSettings, LoraSettings, OptimizerSettings, TrainingSettings
from spire_ray.text.record import MEGATRON_SPECIALS
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.units.fingerprint import Fingerprint, Identity
from tests.model import families

IDENTITY = Identity(encoder="e", weights="w", layer=22, norm="none", waveform="none", frame_rate=50, clusters=50)
TRAINING = TrainingSettings(
    steps=3,
    global_batch_size=2,
    save_every=3,
    lora=LoraSettings(rank=2, alpha=4),
    optimizer=OptimizerSettings(lr=1e-2, warmup_steps=0),
)
PARTS = {
    "lora": {"trainable": "lora"},
    "units_only": {"trainable": "units_only"},
    "new rows apart": {"optimizer": OptimizerSettings(lr=1e-9, new_rows_lr=1e-2, warmup_steps=0)},
}


@pytest.fixture(scope="module", params=["words of Megatron at the end", "words of ChatML in the middle"])
def model(request, tmp_path_factory):
    """A model whose base tokenizer brought control words, and the ids of those that documents need."""
    folder = tmp_path_factory.mktemp("model")
    if "Megatron" in request.param:
        base = families.make("llama-2", folder / "base")
        add_words(base, MEGATRON_SPECIALS)
    else:
        base = families.make("eurollm", folder / "base")
    extend(base, str(folder / "model"), Fingerprint(identity=IDENTITY), ExtendModelSettings(model="", codebook="", output=""))
    tokenizer = SpeechTokenizer(str(folder / "model"))
    words = ["<EOD>"] if "Megatron" in request.param else ["<|im_start|>", "<|im_end|>"]
    return base, str(folder / "model"), [tokenizer.text.token_to_id(word) for word in words]


def add_words(base, words):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(list(words), special_tokens=True)
    tokenizer.save_pretrained(base)
    grown = AutoModelForCausalLM.from_pretrained(base)
    grown.resize_token_embeddings(len(tokenizer))
    grown.save_pretrained(base)


def test_every_needed_row_is_among_those_that_are_trained(model):
    base, folder, needed = model
    first = new_rows(folder)[1]
    assert all(row >= first or row in control_rows(folder) for row in needed)
    tokenizer = SpeechTokenizer(folder)
    assert tokenizer.eos < first and not {tokenizer.bos, tokenizer.eos} & set(control_rows(folder))
    assert control_rows(base) == ()


@pytest.mark.parametrize("kind", PARTS)
def test_needed_rows_move_and_no_other_old_row_does(model, kind, one_worker, tmp_path):
    from transformers import AutoModelForCausalLM

    from spire_ray.training.trainer import Trainer

    _, folder, needed = model
    training = dataclasses.replace(TRAINING, **PARTS[kind])
    units, first = new_rows(folder)
    ids = torch.tensor([7, units.start, *needed, 9, *needed, 11, units.start + 1] * 2).int().numpy()
    documents = [Document(ids, ids > 0, f"u{n}", 0) for n in range(4)]
    write(str(tmp_path / "pack"), documents, 24, units.stop, 0, {"sources": [{"name": "x"}], "fingerprint": None})
    preset = tmp_path / "zero1.json"
    preset.write_text(json.dumps({"zero_optimization": {"stage": 1}, "bf16": {"enabled": False}}))
    before = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).get_input_embeddings().weight.detach()
    trainer = Trainer(folder, str(tmp_path / "pack"), str(tmp_path / "train"), training, str(preset))
    trainer.fit()
    learner = trainer.model
    export(str(tmp_path / "train"), folder, str(tmp_path / "out"), torch.float32, training.lora)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    after = exported.get_input_embeddings().weight.detach()
    moved = {int(row) for row in (after - before).abs().amax(1).gt(1e-4).nonzero()}
    assert set(needed) < moved
    assert {row for row in moved if row < first} <= set(needed)
    learner.set_attn_implementation("sdpa")
    trained, plain = learner(torch.tensor([ids.tolist()])).logits, exported(torch.tensor([ids.tolist()])).logits
    assert torch.allclose(trained, plain, atol=1e-4)
