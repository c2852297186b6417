"""The codebook folder: what was saved is loaded, and what was changed is refused."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import save_file

from spire_ray.settings import EncoderSettings
from spire_ray.units.codebook import BUNDLED, Codebook
from spire_ray.units.fingerprint import Identity

IDENTITY = Identity(encoder="hubert", weights="w", layer=22, norm="none", waveform="utterance", frame_rate=50)


@pytest.fixture
def codebook():
    centroids = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
    return Codebook.create(centroids, EncoderSettings(name="hubert", layer=22), IDENTITY, {"hours": 1.5})


def test_a_saved_codebook_is_loaded_again(codebook, tmp_path):
    codebook.save(str(tmp_path))
    loaded = Codebook.load(str(tmp_path))
    assert np.array_equal(loaded.centroids, codebook.centroids)
    assert dataclasses.replace(loaded, centroids=codebook.centroids) == codebook
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codebook.json", "codebook.safetensors"]


def test_its_fingerprint_is_that_of_the_encoder_with_the_centroids(codebook):
    identity = codebook.fingerprint.identity
    assert identity.clusters == 12
    assert dataclasses.replace(identity, codebook="", clusters=0) == IDENTITY
    moved = Codebook.create(codebook.centroids + 1e-3, codebook.encoder, IDENTITY, {})
    assert moved.fingerprint.identity.codebook != identity.codebook


def test_changed_centroids_are_refused(codebook, tmp_path):
    codebook.save(str(tmp_path))
    centroids = codebook.centroids.copy()
    centroids[3, 2] += 1e-6
    save_file({"centroids": centroids}, tmp_path / "codebook.safetensors")
    with pytest.raises(ValueError, match=r"the centroids are not those that codebook\.json describes"):
        Codebook.load(str(tmp_path))


def test_a_folder_that_is_no_codebook_is_refused_with_advice(tmp_path):
    with pytest.raises(ValueError, match=r"no codebook\.json there; fit one with the stage fit_codebook"):
        Codebook.load(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"layer": 9}, "layer 22 against 9"),
        ({"weights": "v"}, "weights 'w' against 'v'"),
        ({"waveform": "none"}, "waveform 'utterance' against 'none'"),
        ({"norm": "final_layer_norm", "frame_rate": 25.0}, "norm 'none' against 'final_layer_norm'; frame_rate 50 against 25.0"),
    ],
)
def test_another_encoder_is_refused_and_every_difference_named(codebook, change, named):
    codebook.check_encoder(IDENTITY, "the codebook")
    with pytest.raises(ValueError, match="the units of the codebook and of the encoder that was loaded") as error:
        codebook.check_encoder(dataclasses.replace(IDENTITY, **change), "the codebook")
    assert str(error.value).endswith(f"do not mean the same: {named}")


def test_more_clusters_than_16_bits_hold_are_refused():
    with pytest.raises(ValueError, match="clusters=65537: at most 65536"):
        Codebook.create(np.zeros((65_537, 1), np.float32), EncoderSettings(), IDENTITY, {})


def test_a_bundled_encoder_is_the_folder_beside_the_codebook(tiny_codebook, tmp_path):
    bundled = dataclasses.replace(tiny_codebook, encoder=dataclasses.replace(tiny_codebook.encoder, name=BUNDLED))
    bundled.save(str(tmp_path / "model" / "codebook"))
    loaded = Codebook.load(str(tmp_path / "model" / "codebook"))
    assert loaded.encoder.name == str(tmp_path / "model" / "encoder")
    assert loaded.fingerprint == tiny_codebook.fingerprint
