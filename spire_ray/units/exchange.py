"""Centroids of other tools: scikit-learn's k-means in joblib (SpireLM, fairseq), `.npy` and faiss.

A pickle can run any program when it is loaded. This one is read only where the user says that it may be, and even then by an
unpickler that makes arrays and nothing else: estimators become empty shells that hold attributes, and any other name is
refused.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from spire_ray.core import storage

_NPY = b"\x93NUMPY"
_FAISS = b"I"
"""Every kind of faiss index begins with a code such as `IxFI`, `IwFl` or `IHNf`."""
_COMPRESSED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"\x78": zlib.decompress,
    b"BZ": bz2.decompress,
    b"\xfd7zXZ": lzma.decompress,
    b"\x5d\x00": lzma.decompress,
}
_ARRAYS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
}


def read(path: str, *, trust_pickle: bool = False) -> np.ndarray:
    """Centroids float32 [K, d] of a file or URL, whose kind its first bytes tell.

    Raises ValueError for a pickle without `trust_pickle` or with more in it than arrays and an estimator, and for a file
    without finite centroids.
    """
    data = storage.read_bytes(path)
    if data.startswith(_NPY):
        found = _of_npy(data, path)
    elif data.startswith(_FAISS):
        found = _of_faiss(data, path)
    elif trust_pickle:
        found = _of_pickle(data, path)
    else:
        raise ValueError(f"{path}: a pickle can run programs; pass --trust-pickle if you trust where it comes from")
    if not isinstance(found, np.ndarray) or found.ndim != 2 or not found.size or found.dtype.kind not in "fiu":
        raise ValueError(f"{path}: holds no centroids, a matrix of numbers [clusters, dimensions]")
    with np.errstate(over="ignore"):
        centroids = np.ascontiguousarray(found, np.float32)
    if not np.isfinite(centroids).all():
        raise ValueError(f"{path}: holds no centroids: some numbers are not finite in float32")
    return centroids


def write(path: str, centroids: np.ndarray) -> None:
    """Centroids as `.npy`, or as a scikit-learn MiniBatchKMeans in joblib, which SpireLM and fairseq's scripts read.

    Raises ValueError for a name that ends in neither.
    """
    buffer = io.BytesIO()
    if path.endswith(".npy"):
        np.save(buffer, centroids)
    elif path.endswith((".joblib", ".km", ".bin", ".pkl")):
        _write_estimator(buffer, centroids)
    else:
        raise ValueError(f"{path}: must end in .npy, or in .joblib, .km, .bin or .pkl for scikit-learn's k-means")
    storage.write_bytes(path, buffer.getvalue())


def _write_estimator(buffer: io.BytesIO, centroids: np.ndarray) -> None:
    import joblib
    from sklearn.cluster import MiniBatchKMeans

    estimator = MiniBatchKMeans(len(centroids))
    estimator.cluster_centers_ = np.ascontiguousarray(centroids, np.float32)
    estimator.n_features_in_ = centroids.shape[1]
    estimator._n_threads = 1  # what `predict` asks for
    joblib.dump(estimator, buffer)


def _of_npy(data: bytes, path: str) -> np.ndarray:
    try:
        return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: no array of numbers: {error}") from None


def _of_faiss(data: bytes, path: str) -> np.ndarray:
    """The vectors of a flat index, or the coarse centroids of an inverted file."""
    import faiss

    try:
        owner = faiss.deserialize_index(np.frombuffer(data, np.uint8))  # frees what the others only point to
        index: Any = faiss.downcast_index(owner)
        if isinstance(index, faiss.IndexIVF):
            index = faiss.downcast_index(index.quantizer)
        # others turn or compress their vectors, and some end the process when they are asked for them
        if not isinstance(index, faiss.IndexFlat | faiss.IndexHNSWFlat):
            raise ValueError(f"{path}: a faiss {type(index).__name__} keeps no centroids; save those of the clustering as .npy")
        return np.asarray(index.reconstruct_n(0, index.ntotal))
    except RuntimeError as error:
        raise ValueError(
            f"{path}: faiss gives no centroids for it; save those of the clustering as .npy: {str(error)[:80]}"
        ) from None


def _of_pickle(data: bytes, path: str) -> Any:
    try:
        for magic, decompress in _COMPRESSED.items():
            if data.startswith(magic):
                data = decompress(data)
        loaded = _unpickled(data)
    except _Refused as refused:
        raise ValueError(f"{path}: holds {refused}, which no k-means needs; not loaded") from None
    except Exception as error:  # whatever broken bytes do to an unpickler
        raise ValueError(f"{path}: no k-means of scikit-learn in joblib: {error}") from None
    return getattr(loaded, "cluster_centers_", loaded)


class _Refused(Exception):
    """A name in a pickle that is no array's and no estimator's."""


class _Shell:
    """Stands for an estimator or a random generator: takes any argument and state, and runs nothing."""

    def __new__(cls, *given: Any) -> "_Shell":
        return super().__new__(cls)

    def __init__(self, *given: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


def _unpickled(data: bytes) -> Any:
    from joblib import numpy_pickle

    class Array(numpy_pickle.NumpyArrayWrapper):  # type: ignore[misc]
        def read_array(self, *given: Any) -> Any:
            if self.dtype.hasobject:  # would be a pickle of its own
                raise _Refused("an array of objects")
            return super().read_array(*given)

    class Restricted(numpy_pickle.NumpyUnpickler):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
                return Array
            if module.startswith(("sklearn.", "numpy.random")):
                return _Shell
            module = module.replace("numpy.core.", "numpy._core.")  # before numpy 2
            if (module, name) in _ARRAYS:
                return super().find_class(module, name)
            raise _Refused(f"{module}.{name}")

    return Restricted("", io.BytesIO(data), ensure_native_byte_order=True).load()
