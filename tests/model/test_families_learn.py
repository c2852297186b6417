"""extend → pack → train → export on tiny random models of each family, with their own tokens and templates."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from spire_ray.model.extend import extend
from spire_ray.packs.pack import Document, write
from spire_ray.settings import ExtendModelSettings, OptimizerSettings, PackSettings, SourceSettings, TrainingSettings
from spire_ray.text import prompts
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.units.fingerprint import Fingerprint, Identity
from tests.model import families


@pytest.mark.long
@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_family_is_extended_packed_trained_and_exported(family, tmp_path, one_worker):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from spire_ray.model.export import export
    from spire_ray.packs import tokens
    from spire_ray.training.trainer import Trainer

    base, model, folder = families.make(family, tmp_path / "base"), str(tmp_path / "model"), tmp_path / "train"
    identity = Identity(encoder="e", weights="w", layer=22, norm="none", waveform="none", frame_rate=50, clusters=50)
    chat = "chatml" if family in ("llama-2", "eurollm") else "keep"
    extend(base, model, Fingerprint(identity=identity), ExtendModelSettings(model="", codebook="", output="", chat=chat))
    draw = np.random.default_rng(0)
    rows = [
        {
            "utt_id": f"u{n}", "text": "the dog", "language": "en", "translations": [("de", "der Hund")], "split": "train",
            "units": draw.integers(0, 50, 12),
        }
        for n in range(16)
    ]  # fmt: skip
    sources = (SourceSettings(task="asr", data="d"), SourceSettings(task="st", data="d", target_language="de", format="it"))
    tokeniser = tokens.Tokeniser(PackSettings(model=model, output="", sources=sources, sequence_length=96))
    made = [(number, row) for number in range(2) for row in tokeniser.documents(number, rows)[0]]
    documents = [Document(row["ids"], row["counted"], row["utt_id"], number) for number, row in made]
    tokenizer = SpeechTokenizer(model)
    index = {"sources": [{"name": "asr"}, {"name": "st"}], "fingerprint": None}
    write(str(tmp_path / "pack"), documents, 96, tokenizer.vocabulary_size, 0, index)
    first = tokenizer.text.decode(documents[0].ids.tolist(), skip_special_tokens=False)
    begin = "Speech:" if tokenizer.bos is None else tokenizer.text.id_to_token(tokenizer.bos)
    assert first.replace(" ", "").startswith(begin)
    preset = tmp_path / "zero1.json"
    preset.write_text(json.dumps({"zero_optimization": {"stage": 1}, "bf16": {"enabled": False}}))
    optimizer = OptimizerSettings(lr=3e-3, warmup_steps=0, schedule="constant")
    training = TrainingSettings(steps=12, global_batch_size=2, log_every=1, save_every=12, optimizer=optimizer)
    losses = []
    trainer = Trainer(model, str(tmp_path / "pack"), str(folder), training, str(preset))
    trainer.fit(lambda step, metrics: losses.append(metrics["loss"]))
    assert losses[-1] < losses[0] - 0.3
    export(str(folder), model, str(tmp_path / "exported"), torch.float32)
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "exported", dtype=torch.float32)
    trained = trainer.model.state_dict()
    assert all(torch.equal(trained[name], tensor) for name, tensor in reloaded.state_dict().items())
    rendered = AutoTokenizer.from_pretrained(tmp_path / "exported")
    assert rendered.get_vocab() == AutoTokenizer.from_pretrained(model).get_vocab()
    assert Path(tmp_path / "exported" / "spire.json").exists()
    asked = prompts.chat([prompts.Turn(prompts.asr_prompt())], np.array([1, 2], np.uint16), tokenizer.chat)
    assert len(SpeechTokenizer(str(tmp_path / "exported")).encode([asked])[0][0]) > 4
