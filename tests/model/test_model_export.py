"""Checkpoint to model folder: the weights are those that were trained."""

import dataclasses
import filecmp
import json
import shutil

import pytest
import torch

from spire_ray.model.export import export
from spire_ray.settings import LoraSettings, OptimizerSettings, TrainingSettings
from spire_ray.training.checkpoints import record

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

    from spire_ray.model.extension import new_rows
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


STAGES = [0, 1, 2, 3, "bf16", "bf16 of the presets"]


@pytest.mark.parametrize("stage", STAGES)
def test_several_files_hold_what_one_holds_for_every_stage(trained, fresh_model, tmp_path, stage):
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    half = str(stage).startswith("bf16")
    sums = {"grad_accum_dtype": "fp32"} if stage == "bf16 of the presets" else None
    _, weights = trained(tmp_path / "training", TRAINING, zero={"stage": 1 if half else stage}, half=half, data_types=sums)
    export(str(tmp_path / "training"), fresh_model, str(tmp_path / "one"), torch.float32)
    export(str(tmp_path / "training"), fresh_model, str(tmp_path / "many"), torch.float32, shard_bytes=20_000)
    files = sorted((tmp_path / "many").glob("*.safetensors"))
    assert len(files) > 3 and files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    whole = load_file(tmp_path / "one" / "model.safetensors")
    assert {name: file for file in files for name in load_file(file)}.keys() == whole.keys()
    assert all(torch.equal(tensor, whole[name]) for file in files for name, tensor in load_file(file).items())
    if stage != 3:  # whose parameters lie elsewhere
        assert all(torch.equal(tensor.to(weights[name].dtype), weights[name]) for name, tensor in whole.items())
    one, many = (AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in ("one", "many"))
    assert all(torch.equal(tensor, many[name]) for name, tensor in one.items())
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] >= sum(tensor.nbytes for tensor in whole.values())


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_vector_of_a_group_is_read_across_partitions(workers):
    from spire_ray.model import zero_weights

    vector = torch.arange(24.0)
    parts = list(vector.split(24 // workers))
    for start, shape in ((0, (3, 4)), (5, (2, 7)), (11, (1,)), (0, (24,)), (12, (3, 4))):
        stretch = zero_weights._stretch(parts, start, torch.Size(shape))
        assert torch.equal(stretch, vector[start : start + stretch.numel()].view(shape))


def test_memory_is_bound_by_a_file_whatever_the_model_weighs(tmp_path, monkeypatch):
    """Memory of this process that no file backs, at each file written: 64 MB of weights, and as much twice in Adam's moments."""
    from safetensors.torch import load_file, save_file

    from spire_ray.model import export as module

    names = [f"model.layers.{n}.mlp.up_proj.weight" for n in range(16)]
    base = {name: torch.zeros(512, 2048) for name in names} | {"model.embed_tokens.weight": torch.zeros(8, 512)}
    (tmp_path / "base").mkdir()
    save_file(base, tmp_path / "base" / "model.safetensors", {"format": "pt"})
    (tmp_path / "base" / "config.json").write_text(json.dumps({"model_type": "llama", "tie_word_embeddings": False}))
    step = tmp_path / "training" / "step-00000001"
    step.mkdir(parents=True)
    shapes = {f"model.{name}": torch.Size([512, 2048]) for name in names}
    torch.save({"param_shapes": [shapes]}, step / "mp_rank_00_model_states.pt")
    vector = torch.randn(16 * 512 * 2048)
    for rank, part in enumerate(vector.split(len(vector) // 2)):
        moments = {"state": {0: {"exp_avg": torch.zeros_like(part), "exp_avg_sq": torch.zeros_like(part)}}}
        held = {"zero_stage": 1, "single_partition_of_fp32_groups": [part], "optimizer_state_dict": moments}
        torch.save({"optimizer_state_dict": held}, step / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    first = vector[: 512 * 2048].view(512, 2048).clone()
    del base, vector, part, moments, held
    record.complete(str(tmp_path / "training"), 1, {"world_size": 2}, record.describe(str(tmp_path / "training"), 1))
    held = []
    plain = module.save_file
    monkeypatch.setattr(module, "save_file", lambda *given, **more: held.append(anonymous()) or plain(*given, **more))
    before = anonymous()
    export(str(tmp_path / "training"), str(tmp_path / "base"), str(tmp_path / "out"), torch.float32, shard_bytes=10 << 20)
    assert len(held) > 6
    assert max(held) - before < 3 * (10 << 20)
    files = [load_file(file) for file in sorted((tmp_path / "out").glob("*.safetensors"))]
    assert torch.equal(next(file[names[0]] for file in files if names[0] in file), first)


def anonymous():
    """Bytes of this process that are no mapped file."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def test_a_trained_weight_that_the_model_does_not_have_is_refused(trained, fresh_model, tmp_path):
    from safetensors.torch import load_file, save_file

    trained(tmp_path / "training", TRAINING)
    shutil.copytree(fresh_model, tmp_path / "base")
    stored = load_file(tmp_path / "base" / "model.safetensors")
    stored["model.layers.0.mlp.other.weight"] = stored.pop("model.layers.0.mlp.up_proj.weight")
    save_file(stored, tmp_path / "base" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"has no weight model\.layers\.0\.mlp\.up_proj\.weight, nor 0 others"):
        export(str(tmp_path / "training"), str(tmp_path / "base"), str(tmp_path / "out"), torch.float32)
