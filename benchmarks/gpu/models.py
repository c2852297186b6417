"""Models of random weights and the batches they are trained on, small enough for a check."""

import os
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from benchmarks.train_data import documents, packed_batches
from benchmarks.train_ways import SMALL
from benchmarks.units_data import LARGE, synthetic_clips
from spire_ray.model.extend import extend
from spire_ray.packs import pack
from spire_ray.packs.pack import Document
from spire_ray.quickstart.scratch import save_model, train_tokenizer
from spire_ray.settings import ArchitectureSettings, EncoderSettings, ExtendModelSettings
from spire_ray.text import prompts
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.training.batch import Batch
from spire_ray.units.codebook import Codebook
from spire_ray.units.encoders.loading import load_encoder
from spire_ray.units.kmeans import passes

CLUSTERS = 20
SMALL_ENCODER = {**LARGE, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128, "conv_dim": (32,) * 7}
"""HuBERT-large, but narrow."""


def cepstral_codebook() -> Codebook:
    """Of `CLUSTERS` units."""
    settings = EncoderSettings(name="mfcc", options={"hop_ms": 40, "context": 9})
    encoder = load_encoder(settings)
    frames = torch.cat(encoder.encode(list(synthetic_clips(40, seed=5))))
    fitted = passes.fit(frames, CLUSTERS, iterations=5, seed=0)
    return Codebook.create(fitted.centroids, settings, encoder.identity, {})


def speaking_model(folder: Path, width: int, codebook: Codebook) -> str:
    """A model folder that knows the units of a codebook, its weights large enough that answers depend on prompts."""
    from safetensors.torch import load_file, save_file

    base, model = str(folder / "base"), str(folder / "model")
    shape = ArchitectureSettings(
        hidden_size=width, layers=2, heads=max(2, width // 64), intermediate_size=2 * width, max_positions=2048
    )
    save_model(base, train_tokenizer(["Speech: the dog\nEnglish: German: der Hund"], 300), shape, seed=0)
    extend(base, model, codebook.fingerprint, ExtendModelSettings(model=base, codebook="", output=model))
    codebook.save(f"{model}/codebook")
    weights = load_file(f"{model}/model.safetensors")
    save_file(
        {name: 4 * w if "proj" in name else w for name, w in weights.items()}, f"{model}/model.safetensors", {"format": "pt"}
    )
    return model


def asr_pack(folder: Path, model: str) -> str:
    """A pack of speech with transcripts, in rows of 48 tokens."""
    draw = np.random.default_rng(0)
    heard = [draw.integers(0, CLUSTERS, draw.integers(3, 20)).astype(np.uint16) for _ in range(96)]
    spans = [prompts.completion(prompts.asr_prompt(), "the dog" if one[0] % 2 else "Hund", one) for one in heard]
    tokenizer = SpeechTokenizer(model)
    encoded = tokenizer.encode(spans)
    given = [Document(ids, np.ones(len(ids), bool), f"u{i}", 0) for i, (ids, _) in enumerate(encoded)]
    index = {"sources": [{"name": "asr.en", "documents": len(given)}], "fingerprint": None}
    pack.write(str(folder), given, 48, 384, 0, index | {"tokenizer": tokenizer.record.tokenizer})
    return str(folder)


def one_rank(device: str) -> None:
    """A process group of this process alone, as DeepSpeed wants one."""
    os.environ.setdefault("LOCAL_RANK", "0")
    if device != "cuda":
        os.environ["TORCHDYNAMO_DISABLE"] = "1"
    store = dist.FileStore(tempfile.mktemp(), 1)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", store=store, rank=0, world_size=1)


def llama(shape: dict[str, Any] | None = None, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Any:
    """A decoder of a shape, by default a small one with SPIRE's vocabulary, of seeded random weights made on the device."""
    from transformers import AutoConfig, AutoModelForCausalLM

    data = dict(shape or SMALL)
    config = AutoConfig.for_model(data.pop("model_type"), **data)
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def batches(sequence_length: int, rows: int = 1, number: int = 1) -> list[Batch]:
    """Full rows of instruction tuning, as `benchmarks/train.py` makes them."""
    return [batch for batch, _ in islice(endless(sequence_length, rows), number)]


def span(sequence_length: int) -> float:
    """Tokens of the document that a token is in, on average, in such rows."""
    lengths = [len(ids) for ids, _ in documents(400, sequence_length)]
    return sum(length**2 for length in lengths) / sum(lengths)


def endless(sequence_length: int, rows: int = 1) -> Iterator[tuple[Batch, int]]:
    """The same without end, with the tokens that are no padding."""
    return packed_batches(SimpleNamespace(documents=max(64, 40 * rows), sequence_length=sequence_length, rows=rows))  # type: ignore[arg-type]
