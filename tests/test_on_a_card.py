"""Labeler, assigner, k-means and prefill as they run on a GPU: nothing of the card meets anything of the CPU, see `fake_cuda`."""

import numpy as np
import pytest
import torch

from benchmarks.units_data import synthetic_clips
from spire_ray.core import processor
from spire_ray.inference.generate import HuggingFaceGenerator
from spire_ray.settings import EncoderSettings
from spire_ray.units import codec
from spire_ray.units.codebook import Codebook
from spire_ray.units.encoders.loading import load_encoder
from spire_ray.units.kmeans import passes
from spire_ray.units.kmeans.assigner import Assigner
from spire_ray.units.labeler import Labeler
from tests.fake_cuda import fake_cuda
from tests.units.tiny_encoders import save_all

FAMILIES = ["large", "base", "wav2vec2", "w2v-bert", "whisper"]
DRAW = np.random.default_rng(0)


@pytest.fixture
def card(monkeypatch):
    """A card, where PyTorch compiles nothing and its kernel for packed clips is a loop."""
    monkeypatch.setattr(processor, "has_compiler", lambda: False)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", each_clip)
    with fake_cuda():
        yield


def each_clip(query, key, value, ends, other_ends, longest, other_longest):
    assert query.is_cuda and ends.is_cuda and longest == int(ends.diff().max())
    parts = (torch.split(tensor.transpose(0, 1), ends.diff().tolist(), 1) for tensor in (query, key, value))
    made = [torch.nn.functional.scaled_dot_product_attention(*part) for part in zip(*parts, strict=True)]
    return torch.cat(made, 1).transpose(0, 1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return save_all(tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="module")
def clips():
    return list(synthetic_clips(20, seed=1))


def codebook_of(folder):
    settings = EncoderSettings(name=folder, layer=2)
    encoder = load_encoder(settings)
    frames = torch.cat(encoder.encode(list(synthetic_clips(10, seed=9)))).numpy()
    return Codebook.create(frames[:: len(frames) // 32].copy(), settings, encoder.identity, {})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_labeler_gives_the_labels_of_the_cpu(folders, clips, family, dtype, card):
    codebook = codebook_of(folders[family])
    expected = Labeler.from_pretrained(folders[family], codebook)(clips)
    labeler = Labeler.from_pretrained(folders[family], codebook, dtype=dtype, device="cuda")
    found = labeler(clips)
    equal = np.mean([np.mean(a == b) for a, b in zip(found, expected, strict=True)])
    assert equal > (0.99 if dtype == "float32" else 0.6)
    for (units, durations), labels in zip(labeler(clips, deduplicate=True), found, strict=True):
        assert all(np.array_equal(*pair) for pair in zip((units, durations), codec.deduplicate(labels), strict=True))


@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("filtered", [torch.float32, torch.bfloat16])
def test_the_assigner_finds_what_it_finds_on_the_cpu(card, given, filtered):
    centroids, frames = (DRAW.standard_normal((n, 32)).astype(np.float32) for n in (60, 500))
    frames = torch.from_numpy(np.concatenate([frames, centroids])).to(given)  # ties as well
    assigner = Assigner(np.concatenate([centroids, centroids[:5]]), "cuda", filtered)
    expected = Assigner(np.concatenate([centroids, centroids[:5]]))(frames)
    for tensor in (frames, frames.to("cuda")):
        assert assigner.labels(tensor).is_cuda
        assert np.array_equal(assigner(tensor), expected)


def test_a_fit_and_its_tally_are_those_of_the_cpu(card):
    frames = torch.from_numpy(DRAW.standard_normal((800, 16)).astype(np.float32)).bfloat16()
    phones = [{"symbol": "a", "start": 0.0, "end": 100.0}]
    found = []
    for device in ("cpu", "cuda"):
        there = frames.to(device)
        state = passes.fit(there, 20, iterations=3, seed=0)
        found.append(
            (state, passes.tally(there, [500, 300], [phones, []], Assigner(state.centroids, device), state.centroids, 50.0))
        )
    (here, counted), (card_state, card_counted) = found
    assert card_state.inertia[-1] == pytest.approx(here.inertia[-1], rel=0.05)  # first centroids are drawn by bfloat16 on a card
    assert card_counted.frames == counted.frames == 800
    assert set(card_counted.joint) == {"a"} and int(card_counted.joint["a"].sum()) == 500


def test_a_prefill_stays_on_the_card(tiny_model):
    ids = torch.arange(40)[None] % 300
    logits = []
    for device in ("cpu", "cuda"):
        generator = HuggingFaceGenerator(
            tiny_model, max_new_tokens=4
        )  # not on the card, where loading would draw its buffers anew
        with fake_cuda(), torch.inference_mode():
            model = generator.engine.weights.model.to(device, torch.bfloat16 if device == "cuda" else torch.float32)
            made = model(input_ids=ids.to(device), attention_mask=torch.ones_like(ids).to(device)).logits
            assert made.is_cuda == (device == "cuda")
            logits.append(made.float().cpu())
    assert float((logits[1] - logits[0]).norm() / logits[0].norm()) < 0.05


def test_the_card_refuses_what_a_card_refuses(card):
    there, here = torch.ones(3, device="cuda"), torch.ones(3)
    with pytest.raises(RuntimeError, match="same device"):
        there + here
    with pytest.raises(TypeError, match="cpu"):
        there.numpy()
    assert (there + there).is_cuda and not (there + there).cpu().is_cuda
    assert (there * torch.tensor(2.0)).is_cuda  # a number
    assert torch.zeros(3).to(there).is_cuda
