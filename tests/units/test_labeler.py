"""Waveforms to units: the same clip always gets the same units."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.audio.pcm import from_pcm, to_pcm
from spire_ray.settings import EncoderSettings
from spire_ray.units import codec
from spire_ray.units.codebook import Codebook
from spire_ray.units.encoders.loading import load_encoder
from spire_ray.units.labeler import Labeler, runs


@pytest.fixture(scope="module")
def clips():
    draw = np.random.default_rng(3)
    return [(draw.standard_normal(n) / 8).astype(np.float32) for n in (16_000, 5_000, 24_000, 5_000, 400, 12_345)]


def same(one, other):
    return all(np.array_equal(a, b) for pair, twin in zip(one, other, strict=True) for a, b in zip(pair, twin, strict=True))


def test_units_are_the_nearest_centroids_of_the_frames_deduplicated(tiny_codebook, clips):
    labeler = Labeler(tiny_codebook)
    labelled, deduplicated = labeler(clips), labeler(clips, deduplicate=True)
    for clip, labels, (units, durations) in zip(clips, labelled, deduplicated, strict=True):
        frames = labeler.encoder.encode([clip])[0].numpy().astype(np.float64)
        distances = ((frames[:, None] - tiny_codebook.centroids) ** 2).sum(2)
        assert np.array_equal(labels, distances.argmin(1))
        assert np.array_equal(codec.expand(units, durations), labels)
        assert (units[1:] != units[:-1]).all()


@pytest.mark.parametrize("batch_seconds", [0.1, 2.0, 1000.0])
def test_units_depend_neither_on_the_order_of_the_clips_nor_on_the_batch_size(tiny_codebook, clips, batch_seconds):
    expected = Labeler(tiny_codebook)(clips, deduplicate=True)
    order = [4, 2, 0, 5, 3, 1]
    labelled = Labeler(tiny_codebook, batch_seconds=batch_seconds)([clips[i] for i in order], deduplicate=True)
    assert same(labelled, [expected[i] for i in order])


def test_no_padded_batch_holds_more_than_the_budget_unless_one_clip_does(tiny_codebook, clips, monkeypatch):
    labeler = Labeler(tiny_codebook, batch_seconds=1.0)
    encode, seen = labeler.encoder.encode, []
    monkeypatch.setattr(labeler.encoder, "encode", lambda batch: seen.append([len(w) for w in batch]) or encode(batch))
    labeler(clips)
    assert sorted(length for batch in seen for length in batch) == sorted(len(clip) for clip in clips)
    assert all(len(batch) * max(batch) <= 16_000 or len(batch) == 1 for batch in seen)
    assert len(seen) < len(clips)


def test_16_bit_samples_get_the_units_of_the_same_waveform(tiny_codebook, clips):
    samples = [to_pcm(clip) for clip in clips]
    labeler = Labeler(tiny_codebook)
    assert same(labeler(samples, deduplicate=True), labeler([from_pcm(clip) for clip in samples], deduplicate=True))


@pytest.mark.parametrize(
    ("waveform", "told"),
    [
        (np.zeros((2, 16_000), np.float32), r"ndarray \[2, 16000\]: must be an array \[samples\], at least"),
        (np.zeros(10, np.float32), r"ndarray \[10\]: must be an array"),
        (np.zeros(0, np.float32), r"ndarray \[0\]: must be an array"),
        (torch.zeros(16_000), r"Tensor \[16000\]: must be an array"),
        (np.zeros(16_000, np.int32), "int32: must be float32, or int16 PCM"),
    ],
)
def test_what_is_no_waveform_is_refused_by_its_place(tiny_codebook, clips, waveform, told):
    with pytest.raises(ValueError, match=f"waveform 1: {told}"):
        Labeler(tiny_codebook)([clips[0], waveform])


def test_nothing_gives_nothing(tiny_codebook):
    assert Labeler(tiny_codebook)([]) == Labeler(tiny_codebook)([], deduplicate=True) == []


def test_a_codebook_of_another_encoder_is_refused(tiny_codebook):
    other = dataclasses.replace(tiny_codebook.encoder, options={**tiny_codebook.encoder.options, "hop_ms": 20})
    with pytest.raises(ValueError, match=r"frame_rate 25\.0 against 50\.0"):
        Labeler(Codebook(tiny_codebook.centroids, other, tiny_codebook.fingerprint))


def test_a_labeler_is_had_by_the_name_of_its_encoder_and_the_folder_of_its_codebook(tiny_codebook, clips, tmp_path):
    tiny_codebook.save(str(tmp_path))
    expected = Labeler(tiny_codebook)(clips)
    for codebook in (tiny_codebook, str(tmp_path)):
        labelled = Labeler.from_pretrained("mfcc", codebook, layer=tiny_codebook.encoder.layer)(clips)
        assert all(np.array_equal(*pair) for pair in zip(labelled, expected, strict=True))


@pytest.mark.parametrize(
    ("wish", "told"), [({"layer": 21}, "layer=21: the codebook was fitted on layer 22"), ({"dtype": "int8"}, "int8")]
)
def test_a_wish_that_contradicts_the_codebook_is_refused(tiny_codebook, wish, told):
    with pytest.raises(ValueError, match=told):
        Labeler.from_pretrained("mfcc", tiny_codebook, **wish)


def test_a_copy_of_the_encoder_under_another_name_is_the_same_encoder_and_other_weights_are_not(tmp_path):
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "conv_dim": (8,) * 7}
    for name in ("one", "other"):
        transformers.HubertModel(transformers.HubertConfig(**shape)).save_pretrained(tmp_path / name)
        transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / name)
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    settings = EncoderSettings(name=str(tmp_path / "one"), layer=1)
    codebook = Codebook.create(np.eye(4, 16, dtype=np.float32), settings, load_encoder(settings).identity, {})
    assert (
        len(Labeler.from_pretrained(str(tmp_path / "copy"), codebook, dtype=torch.bfloat16)([np.ones(800, np.float32)])[0]) == 2
    )
    with pytest.raises(ValueError, match="weights"):
        Labeler.from_pretrained(str(tmp_path / "other"), codebook)


@given(st.lists(st.lists(st.sampled_from([0, 1, 65_535]), min_size=1, max_size=8), min_size=1, max_size=5))
def test_runs_of_packed_clips_are_those_of_each_clip(clips):
    found = runs(torch.tensor([label for clip in clips for label in clip], dtype=torch.int32), [len(clip) for clip in clips])
    assert same(found, [codec.deduplicate(np.array(clip)) for clip in clips])


def test_a_run_too_long_for_its_type_becomes_several():
    [(units, durations)] = runs(torch.full((70_000,), 3), [70_000])
    assert units.tolist() == [3, 3]
    assert durations.tolist() == [65_535, 4_465]
