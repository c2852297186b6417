"""Speech encoders of the true architectures, tiny and random: the frames are those of Hugging Face."""

import dataclasses

import numpy as np
import pytest
import torch

from spire_ray.core import copies
from spire_ray.settings import EncoderSettings
from spire_ray.units.encoders.encoder import normalize
from spire_ray.units.encoders.loading import load_encoder
from tests.units.tiny_encoders import LAYERS, SHAPE, WHISPER, save_all


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return save_all(tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="module")
def speech():
    """Waveforms of several lengths, two of them equally long, loud and quiet, with an offset."""
    draw = np.random.default_rng(0)
    lengths = (9_000, 16_000, 12_345, 400, 9_000)
    return [(draw.standard_normal(n) * 0.1 * (i + 1) + 0.05 * i).astype(np.float32) for i, n in enumerate(lengths)]


def outputs(folder, waveform):
    from transformers import AutoFeatureExtractor, AutoModel

    inputs = AutoFeatureExtractor.from_pretrained(folder)(waveform, sampling_rate=16_000, return_tensors="pt")
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    encoder = model.get_encoder() if model.config.model_type == "whisper" else model
    with torch.inference_mode():
        return encoder(**inputs, output_hidden_states=True)


CUTS = [("large", 1), ("large", 2), ("wav2vec2", 2), ("base", 1), ("base", LAYERS), ("w2v-bert", 2), ("w2v-bert", LAYERS)]


@pytest.mark.parametrize(("kind", "layer"), CUTS)
def test_frames_equal_the_hidden_states_of_hugging_face(folders, speech, kind, layer):
    frames = load_encoder(EncoderSettings(name=folders[kind], layer=layer)).encode([speech[1]])[0]
    expected = outputs(folders[kind], speech[1]).hidden_states[layer][0]
    assert frames.shape == expected.shape == (49, SHAPE["hidden_size"])
    assert torch.allclose(frames, expected, atol=1e-5, rtol=0)


def test_the_final_layer_norm_is_applied_only_on_request(folders, speech):
    plain = load_encoder(EncoderSettings(name=folders["large"], layer=LAYERS))
    normed = load_encoder(EncoderSettings(name=folders["large"], layer=LAYERS, final_layer_norm=True))
    expected = outputs(folders["large"], speech[1]).last_hidden_state[0]
    assert torch.allclose(normed.encode([speech[1]])[0], expected, atol=1e-5, rtol=0)
    assert not torch.allclose(plain.encode([speech[1]])[0], expected, atol=1e-2)
    assert (plain.identity.norm, normed.identity.norm) == ("none", "final_layer_norm")


@pytest.mark.parametrize("kind", ["large", "base", "wav2vec2", "w2v-bert", "whisper"])
def test_a_clip_has_the_same_frames_alone_and_in_a_batch(folders, speech, kind):
    encoder = load_encoder(EncoderSettings(name=folders[kind], layer=2))
    together = encoder.encode(speech)
    for waveform, frames in zip(speech, together, strict=True):
        if len(waveform) < encoder.shortest:
            continue
        alone = encoder.encode([waveform])[0]
        assert frames.shape == alone.shape
        assert torch.allclose(frames, alone, atol=2e-5, rtol=0)


def test_the_shortest_clip_has_one_frame_and_frames_come_every_20_ms(folders, speech):
    encoder = load_encoder(EncoderSettings(name=folders["base"], layer=1))
    assert encoder.shortest == 400
    assert [len(frames) for frames in encoder.encode(speech)] == [(len(w) - 400) // 320 + 1 for w in speech]
    assert encoder.identity.frame_rate == 50


def test_the_waveform_is_normalised_where_the_extractor_says_so(folders, speech, tmp_path):
    from transformers import AutoModel, Wav2Vec2FeatureExtractor

    AutoModel.from_pretrained(folders["base"]).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    raw = load_encoder(EncoderSettings(name=str(tmp_path), layer=1))
    given = load_encoder(EncoderSettings(name=folders["base"], layer=1))
    assert (raw.identity.waveform, given.identity.waveform) == ("none", "utterance")
    assert torch.allclose(raw.encode([normalize(speech[1])])[0], given.encode([speech[1]])[0], atol=1e-5)


def test_dtype_does_not_change_the_identity_but_layer_and_weights_do(folders, tmp_path):
    from transformers import AutoFeatureExtractor, AutoModel

    identity = load_encoder(EncoderSettings(name=folders["large"], layer=2)).identity
    halved = load_encoder(EncoderSettings(name=folders["large"], layer=2, dtype="bfloat16"))
    assert halved.identity == identity
    assert halved.encode([np.ones(800, np.float32)])[0].dtype == torch.float32
    assert load_encoder(EncoderSettings(name=folders["large"], layer=1)).identity != identity
    model = AutoModel.from_pretrained(folders["large"])
    with torch.no_grad():
        model.encoder.layers[0].attention.k_proj.weight[0, 0] += 1e-3
    model.save_pretrained(tmp_path)
    AutoFeatureExtractor.from_pretrained(folders["large"]).save_pretrained(tmp_path)
    changed = load_encoder(EncoderSettings(name=str(tmp_path), layer=2)).identity
    assert changed.weights != identity.weights
    assert dataclasses.replace(changed, encoder=identity.encoder, weights=identity.weights) == identity


@pytest.mark.parametrize("layer", [0, -1, LAYERS + 1])
def test_a_layer_that_the_encoder_does_not_have_is_refused(folders, layer):
    with pytest.raises(ValueError, match=rf"encoder\.layer={layer}: .* has layers 1 to {LAYERS}"):
        load_encoder(EncoderSettings(name=folders["large"], layer=layer))


def test_a_final_layer_norm_is_refused_where_the_model_has_none(folders):
    with pytest.raises(ValueError, match=r"encoder\.final_layer_norm=true: post-LN models"):
        load_encoder(EncoderSettings(name=folders["base"], layer=1, final_layer_norm=True))


def test_whisper_reads_windows_and_drops_the_frames_of_what_fills_them_up(folders):
    encoder = load_encoder(EncoderSettings(name=folders["whisper"], layer=2))
    long = (np.random.default_rng(1).standard_normal(31 * 16_000) / 8).astype(np.float32)
    frames = encoder.encode([long])[0]
    first, second = (outputs(folders["whisper"], part).hidden_states[2][0] for part in (long[: 30 * 16_000], long[30 * 16_000 :]))
    assert frames.shape == (31 * 50, WHISPER["d_model"])
    assert torch.allclose(frames, torch.cat([first, second[:50]]), atol=1e-5, rtol=0)
    assert (encoder.identity.cutting, encoder.identity.frame_rate) == ("30s", 50)


def test_the_final_norm_of_whisper_is_applied_only_on_request(folders, speech):
    settings = EncoderSettings(name=folders["whisper"], layer=LAYERS)
    normed = load_encoder(dataclasses.replace(settings, final_layer_norm=True)).encode([speech[1]])[0]
    expected = outputs(folders["whisper"], speech[1]).last_hidden_state[0][:50]
    assert torch.allclose(normed, expected, atol=1e-5, rtol=0)
    assert not torch.allclose(load_encoder(settings).encode([speech[1]])[0], expected, atol=1e-2)


@pytest.mark.parametrize("kind", ["large", "w2v-bert", "whisper"])
def test_the_shortest_clip_has_exactly_one_frame(folders, kind):
    encoder = load_encoder(EncoderSettings(name=folders[kind], layer=1))
    assert len(encoder.encode([np.ones(encoder.shortest, np.float32)])[0]) == 1


def test_a_model_of_another_type_is_refused(tmp_path):
    from transformers import LlamaConfig

    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="a llama model; known are hubert, mfcc, wav2vec2, wav2vec2-bert, whisper"):
        load_encoder(EncoderSettings(name=str(tmp_path), layer=1))


def test_an_encoder_in_a_bucket_is_the_one_that_was_put_there(s3, folders, speech, tmp_path, monkeypatch):
    monkeypatch.setenv("SPIRE_CACHE", str(tmp_path))
    copies.upload(folders["large"], "s3://spire/models/hubert")
    there, here = (load_encoder(EncoderSettings(name=name, layer=1)) for name in ("s3://spire/models/hubert", folders["large"]))
    assert there.identity.weights == here.identity.weights
    assert all(torch.equal(*pair) for pair in zip(there.encode(speech), here.encode(speech), strict=True))


@pytest.mark.parametrize("name", ["/absent/hubert", "./hubert", "models/facebook/hubert"])
def test_an_encoder_that_is_not_there_is_refused_by_its_name(name):
    with pytest.raises(ValueError, match=f"encoder.name={name}: no such folder, and no id of the hub"):
        load_encoder(EncoderSettings(name=name))
