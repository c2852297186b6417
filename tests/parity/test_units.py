"""Units against plain Hugging Face and exact scores, on tiny random encoders of the true architectures, on audio that changes.

A frame counts as a tie, and is left out, when its two smallest float64 distances differ by less than 1e-5 of their size.
"""

import numpy as np
import pytest
import torch

from benchmarks.units_data import LARGE, agreement, random_codebook, synthetic_clips
from benchmarks.units_peer import Reference
from spire_ray.settings import EncoderSettings
from spire_ray.units.codebook import Codebook
from spire_ray.units.encoders import pretrained
from spire_ray.units.encoders.loading import load_encoder
from spire_ray.units.encoders.packed import PackedModel
from spire_ray.units.labeler import Labeler
from tests.units.tiny_encoders import save_all

CLUSTERS, LAYER = 64, 2
MODELS = ["large", "base", "wav2vec2", "wav2vec2-base", "w2v-bert", "whisper"]
PACKED = MODELS[:4]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return save_all(tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="module")
def clips():
    some = list(synthetic_clips(50, seed=1))
    return [*some, some[0][:16_000], some[1][:16_000], some[0][:2_000]]


@pytest.fixture(scope="module")
def codebooks(folders):
    """For each model: frames of other audio as centroids."""
    made = {}
    for model in MODELS:
        settings = EncoderSettings(name=folders[model], layer=LAYER)
        encoder = load_encoder(settings)
        frames = torch.cat(encoder.encode(list(synthetic_clips(20, seed=99)))).numpy()
        centroids = frames[np.random.default_rng(0).permutation(len(frames))[:CLUSTERS]].copy()
        made[model] = Codebook.create(centroids, settings, encoder.identity, {})
    return made


def exact(codebook, frames):
    """The nearest centroid of each frame by float64, and whether no other is as near."""
    distances = torch.cdist(frames.double(), torch.from_numpy(codebook.centroids).double()).square().numpy()
    best, second = np.sort(distances, axis=1)[:, :2].T
    return distances.argmin(1), second - best >= 1e-5 * best


def oracle(folder, codebook, clips, dtype="float32"):
    """Hugging Face's own forward pass, each clip alone."""
    plain = pretrained.load(EncoderSettings(name=folder, layer=LAYER, dtype=dtype), "cpu", plain=True)
    return [exact(codebook, plain.encode([clip])[0]) for clip in clips]


@pytest.mark.parametrize("model", MODELS)
def test_every_label_is_that_of_plain_hugging_face_with_exact_scores_alone_and_in_any_batch(folders, codebooks, clips, model):
    expected = oracle(folders[model], codebooks[model], clips)
    frames, unclear = (sum(len(labels) for labels, _ in expected), sum(int((~clear).sum()) for _, clear in expected))
    assert unclear <= max(1, frames / 10_000)
    for batch_seconds in (0.1, 15.0, 1000.0):
        labeler = Labeler.from_pretrained(folders[model], codebooks[model], batch_seconds=batch_seconds)
        for found, (labels, clear) in zip(labeler(clips), expected, strict=True):
            assert np.array_equal(found[clear], labels[clear])
    assert len({int(label) for labels, _ in expected for label in labels}) > CLUSTERS / 2  # else any labels would do


@pytest.mark.parametrize("model", PACKED)
def test_the_layout_for_a_gpu_gives_the_same_frames(folders, clips, model):
    plain = pretrained.load(EncoderSettings(name=folders[model], layer=LAYER), "cpu", plain=True)
    packed = PackedModel(plain._model, normalizes=True, at_once=True)
    for frames, clip in zip(packed(clips), clips, strict=True):
        assert torch.allclose(frames, plain.encode([clip])[0], atol=2e-5, rtol=0)


def gain(ours, plain, truth):
    """By how much the share of frames with the true label is larger in `ours`, and its standard error over clips."""
    better = np.array([(a == t).sum() - (b == t).sum() for a, b, t in zip(ours, plain, truth, strict=True)])
    frames = np.array([len(labels) for labels in truth])
    mean = better.sum() / frames.sum()
    return mean, np.sqrt(np.square(better - mean * frames).sum()) / frames.sum()


@pytest.mark.parametrize("model", PACKED)
def test_bfloat16_moves_no_more_labels_than_hugging_face_in_bfloat16(folders, codebooks, model):
    """At most 0.2 points more, as far as 300 clips can tell: which labels move is as good as drawn, anew on every processor."""
    clips = list(synthetic_clips(300, seed=7))
    truth = [labels for labels, _ in oracle(folders[model], codebooks[model], clips)]
    plain = [labels for labels, _ in oracle(folders[model], codebooks[model], clips, "bfloat16")]
    ours = Labeler.from_pretrained(folders[model], codebooks[model], dtype="bfloat16")(clips)
    found, (more, error) = agreement(ours, truth), gain(ours, plain, truth)
    print(f"{model} in bfloat16: {found}; Hugging Face: {agreement(plain, truth)}; {more:+.4f} ± {error:.4f}")
    assert error < 0.005
    assert more >= -0.002 - 3 * error
    assert found["frames_equal"] < 1  # else nothing ran in bfloat16


def test_labels_are_those_of_the_way_of_spirelm(tmp_path):
    """In float32, for the large type cut short, in padded batches with the whole distance matrix."""
    codebook = random_codebook(str(tmp_path), LARGE, layer=2, clusters=500)
    clips = list(synthetic_clips(20, seed=3))
    expected = Reference(str(tmp_path), codebook, "float32", "cpu")(clips)
    found = agreement(Labeler.from_pretrained(str(tmp_path), codebook)(clips), expected)
    assert found["frames_equal"] >= 0.999
    assert len({int(label) for labels in expected for label in labels}) > 100  # else any labels would do
