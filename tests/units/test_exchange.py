"""Codebooks of other tools come in and go out, and a pickle runs nothing."""

import io
import os
import pickle

import faiss
import joblib
import numpy as np
import pytest
from sklearn.cluster import KMeans, MiniBatchKMeans

from spire_ray.settings import EncoderSettings
from spire_ray.tools import units
from spire_ray.units import exchange
from spire_ray.units.codebook import Codebook
from spire_ray.units.kmeans import assigner

FRAMES = np.random.default_rng(0).standard_normal((500, 65)).astype(np.float32)
MFCC = EncoderSettings(name="mfcc", options={"hop_ms": 20, "context": 5})


@pytest.fixture(scope="module")
def centroids():
    return FRAMES[:12].copy()


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("xz", 1)])
def test_scikit_learns_kmeans_in_joblib_is_read(kind, compress, tmp_path):
    fitted = kind(12, n_init=1, max_iter=3, random_state=0)
    fitted = fitted.partial_fit(FRAMES) if kind is MiniBatchKMeans else fitted.fit(FRAMES)  # one keeps a random generator
    joblib.dump(fitted, tmp_path / "km", compress=compress)
    assert np.array_equal(exchange.read(str(tmp_path / "km"), trust_pickle=True), fitted.cluster_centers_)


def test_a_pickle_is_refused_unless_trusted(tmp_path):
    joblib.dump(KMeans(2, n_init=1).fit(FRAMES[:9]), tmp_path / "km")
    with pytest.raises(ValueError, match="a pickle can run programs; pass --trust-pickle"):
        exchange.read(str(tmp_path / "km"))


class Runs:
    def __init__(self, call, *given):
        self.made = (call, given)

    def __reduce__(self):
        return self.made


def joblib_bytes(value):
    buffer = io.BytesIO()
    joblib.dump(value, buffer)
    return buffer.getvalue()


def test_a_trusted_pickle_still_runs_nothing(tmp_path):
    touched = str(tmp_path / "touched")
    wicked = {
        "a call": Runs(os.mkdir, touched),
        "a builtin": Runs(eval, f"__import__('os').mkdir({touched!r})"),
        "in an estimator": {"cluster_centers_": Runs(os.mkdir, touched)},
        "in an array of objects": np.array([Runs(os.mkdir, touched)], object),
    }
    for name, value in wicked.items():
        for written in (joblib_bytes(value), pickle.dumps(value)):
            (tmp_path / "km").write_bytes(written)
            with pytest.raises(ValueError, match=r"holds .*, which no k-means needs; not loaded"):
                exchange.read(str(tmp_path / "km"), trust_pickle=True)
            assert not os.path.exists(touched), name


def test_a_flat_faiss_index_an_inverted_file_and_npy_are_read(centroids, tmp_path):
    flat = faiss.IndexFlatL2(65)
    flat.add(centroids)
    inverted = faiss.IndexIVFFlat(flat, 65, 12)
    for index in (flat, inverted):
        faiss.write_index(index, str(tmp_path / "index"))
        assert np.array_equal(exchange.read(str(tmp_path / "index")), centroids)
    np.save(tmp_path / "c.npy", centroids.astype(np.float64))
    assert np.array_equal(exchange.read(str(tmp_path / "c.npy")), centroids)


@pytest.mark.parametrize("bad", [np.zeros(5), np.full((3, 4), np.nan), np.zeros((0, 4))])
def test_what_is_no_matrix_of_numbers_is_refused(bad, tmp_path):
    np.save(tmp_path / "c.npy", bad)
    with pytest.raises(ValueError, match="holds no centroids"):
        exchange.read(str(tmp_path / "c.npy"))


def test_a_pickle_of_objects_inside_npy_is_refused(tmp_path):
    np.save(tmp_path / "c.npy", np.array([Runs(os.mkdir, str(tmp_path / "touched"))], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        exchange.read(str(tmp_path / "c.npy"))
    assert not (tmp_path / "touched").exists()


def test_an_exported_codebook_predicts_in_scikit_learn_what_it_labels_here(centroids, tmp_path):
    exchange.write(str(tmp_path / "km.joblib"), centroids)
    assert np.array_equal(joblib.load(tmp_path / "km.joblib").predict(FRAMES), assigner.assign(FRAMES, centroids))
    exchange.write(str(tmp_path / "c.npy"), centroids)
    assert np.array_equal(np.load(tmp_path / "c.npy"), centroids)
    with pytest.raises(ValueError, match=r"must end in \.npy"):
        exchange.write(str(tmp_path / "c.csv"), centroids)


def test_an_imported_codebook_has_the_encoders_identity_marked_asserted(centroids, tmp_path):
    exchange.write(str(tmp_path / "km.joblib"), centroids)
    made = Codebook.import_from(str(tmp_path / "km.joblib"), MFCC, trust_pickle=True)
    made.save(str(tmp_path / "codebook"))
    loaded = Codebook.load(str(tmp_path / "codebook"))
    assert np.array_equal(loaded.centroids, centroids)
    assert loaded.fingerprint.identity.encoder == "mfcc"
    assert loaded.fingerprint.numerics["asserted"] == "spire units import: encoder, layer and norm rule"
    assert loaded.fit == {"imported_from": "km.joblib"}


def test_centroids_of_another_width_than_the_encoders_frames_are_refused(centroids, tmp_path):
    np.save(tmp_path / "c.npy", centroids[:, :64])
    with pytest.raises(ValueError, match=r"its frames have 65 dimensions, the centroids of .* have 64"):
        Codebook.import_from(str(tmp_path / "c.npy"), MFCC)


def test_the_command_line_imports_and_exports(centroids, tmp_path, capsys):
    np.save(tmp_path / "c.npy", centroids)
    options = ["--encoder", "mfcc", "--layer", "0"]
    folder, back = str(tmp_path / "codebook"), str(tmp_path / "back.npy")
    assert units.main(["import", str(tmp_path / "c.npy"), folder, *options]) == 0
    assert "12 clusters of 65 dimensions; that mfcc made their frames is asserted" in capsys.readouterr().out
    assert units.main(["export", folder, back]) == 0
    assert np.array_equal(np.load(back), centroids)
    assert units.main(["import", str(tmp_path / "c.npy"), folder, *options]) == 2
    assert "holds files; choose an empty folder" in capsys.readouterr().err


def test_a_joblib_file_that_is_no_kmeans_is_refused(tmp_path):
    (tmp_path / "km").write_bytes(b"\x80\x04 nonsense")
    with pytest.raises(ValueError, match="no k-means of scikit-learn in joblib"):
        exchange.read(str(tmp_path / "km"), trust_pickle=True)
    joblib.dump({"a": 1}, tmp_path / "km")
    with pytest.raises(ValueError, match="holds no centroids"):
        exchange.read(str(tmp_path / "km"), trust_pickle=True)
