"""What several tests share: a small Ray cluster, and a tiny model that hears.

numpy is imported by those who use it, because it reads OMP_NUM_THREADS once.
"""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # serve/ is no part of the installed package
os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads than free cores make tiny models slow
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # busy machines
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own 15 starves workers beside any other load
pytest_plugins = ["tests.local_s3"]
settings.register_profile("spire", deadline=None, derandomize=True, max_examples=60, database=None)
settings.load_profile("spire")


@pytest.fixture(scope="session")
def ray_session():
    """A Ray cluster on this machine, with 4 logical CPUs."""
    import ray

    ray.init("local", num_cpus=4, include_dashboard=False, object_store_memory=256 << 20, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny_codebook():
    """20 clusters of the cepstra of noise."""
    import numpy as np

    from spire_ray.settings import EncoderSettings
    from spire_ray.units.codebook import Codebook
    from spire_ray.units.encoders.loading import load_encoder
    from spire_ray.units.kmeans import passes

    settings = EncoderSettings(name="mfcc", options={"hop_ms": 40, "context": 9})
    encoder = load_encoder(settings)
    noise = np.random.default_rng(0).standard_normal(16_000 * 20).astype(np.float32) / 4
    fitted = passes.fit(encoder.encode([noise])[0].numpy(), 20, iterations=5, seed=0)
    return Codebook.create(fitted.centroids, settings, encoder.identity, {})


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, tiny_codebook):
    """A model folder with random weights, extended by the units of its codebook, as the stages make it."""
    from safetensors.torch import load_file, save_file

    from spire_ray.model.extend import extend
    from spire_ray.quickstart.scratch import save_model, train_tokenizer
    from spire_ray.settings import ArchitectureSettings, ExtendModelSettings

    folder = tmp_path_factory.mktemp("model")
    base, model = str(folder / "base"), str(folder / "model")
    shape = ArchitectureSettings(hidden_size=32, layers=1, heads=2, intermediate_size=64, max_positions=512)
    save_model(base, train_tokenizer(["Speech: the dog\nEnglish: German: der Hund"], 300), shape, seed=0)
    settings = ExtendModelSettings(model=base, codebook=f"{model}/codebook", output=model)
    extend(base, model, tiny_codebook.fingerprint, settings)
    tiny_codebook.save(f"{model}/codebook")
    weights = load_file(f"{model}/model.safetensors")
    # larger ones, so that the answer depends on the units
    save_file(
        {name: 20 * w if "proj" in name else w for name, w in weights.items()}, f"{model}/model.safetensors", {"format": "pt"}
    )
    return model


@pytest.fixture(scope="session")
def tiny_base(tiny_model):
    """The text model that `tiny_model` was made of; it has no unit tokens."""
    return str(Path(tiny_model).parent / "base")


@pytest.fixture(scope="session")
def fresh_model(tmp_path_factory, tiny_base, tiny_codebook):
    """The same model as it leaves extend_model, with small weights: one that learns."""
    from spire_ray.model.extend import extend
    from spire_ray.settings import ExtendModelSettings

    folder = str(tmp_path_factory.mktemp("fresh"))
    extend(tiny_base, folder, tiny_codebook.fingerprint, ExtendModelSettings(model=tiny_base, codebook="", output=folder))
    return folder


@pytest.fixture(scope="session")
def one_worker(tmp_path_factory):
    """A process group of this process alone, on gloo, as DeepSpeed wants one."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("DS_ACCELERATOR", "cpu"), ("TORCHDYNAMO_DISABLE", "1"), ("LOCAL_RANK", "0")):
            patch.setenv(name, value)
        import torch.distributed as dist

        store = dist.FileStore(str(tmp_path_factory.mktemp("gloo") / "store"), 1)
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
        yield
        dist.destroy_process_group()


@pytest.fixture(scope="session")
def tiny_pack(tmp_path_factory, tiny_model):
    """20 or so rows of 48 tokens of speech and text, as the vocabulary of `tiny_model` has them."""
    import numpy as np

    from spire_ray.packs.pack import Document, write
    from spire_ray.text import prompts
    from spire_ray.text.tokenizer import SpeechTokenizer

    folder = str(tmp_path_factory.mktemp("pack"))
    draw = np.random.default_rng(0)
    units = [draw.integers(0, 20, draw.integers(3, 20)).astype(np.uint16) for _ in range(48)]
    spans = [prompts.completion(prompts.asr_prompt(), "the dog" if unit[0] % 2 else "Hund", unit) for unit in units]
    tokenizer = SpeechTokenizer(tiny_model)
    encoded = tokenizer.encode(spans)
    documents = [Document(ids, np.ones(len(ids), bool), f"u{i}", 0) for i, (ids, _) in enumerate(encoded)]
    index = {"sources": [{"name": "asr.en", "documents": 48}], "fingerprint": None, "tokenizer": tokenizer.record.tokenizer}
    write(folder, documents, 48, 384, 0, index)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory, fresh_model, tiny_pack, one_worker):
    """A function that trains `fresh_model` on `tiny_pack` in this process: folder and settings → metrics and weights."""
    import json

    from spire_ray.training.trainer import Trainer

    preset = tmp_path_factory.mktemp("deepspeed") / "zero.json"

    def run(
        folder,
        training,
        log=lambda step, metrics: None,
        pack=tiny_pack,
        zero=None,
        half=False,
        bf16=None,
        data_types=None,
        **more,
    ):
        given = {"zero_optimization": zero or {"stage": 1}, "bf16": {**(bf16 or {}), "enabled": half}}
        preset.write_text(json.dumps({**given, **({"data_types": data_types} if data_types else {})}))
        lines = []

        def note(step, metrics):
            lines.append((step, metrics))
            log(step, metrics)

        held_out = more.pop("held_out", None)
        trainer = Trainer(fresh_model, pack, str(folder), training, str(preset), held_out, {"mlflow_run_id": "r"})
        trainer.fit(note, **more)
        return lines, {name: tensor.detach().clone() for name, tensor in trainer.model.state_dict().items()}

    return run


@pytest.fixture
def stand_in_for_comet(tmp_path):
    """An interpreter whose `comet` scores a translation by the length of its source."""
    package = tmp_path / "environment" / "comet"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from types import SimpleNamespace\n"
        "def download_model(name):\n    return name\n"
        "def load_from_checkpoint(path):\n    assert path == 'some/kiwi'\n    return Model()\n"
        "class Model:\n"
        "    def predict(self, rows, batch_size, gpus, progress_bar):\n"
        "        return SimpleNamespace(scores=[len(row['src']) / 20 for row in rows])\n"
    )
    python = package.parent / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={package.parent} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return str(python)
