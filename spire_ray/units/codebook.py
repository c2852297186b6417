"""The codebook: k-means centroids with the fingerprint of the units they make.

A folder of `codebook.safetensors` (centroids, float32 [K, d]) and `codebook.json` (fingerprint, encoder settings, fit).
"""

import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from spire_ray.core import storage
from spire_ray.settings import SAMPLE_RATE, EncoderSettings
from spire_ray.units import quality
from spire_ray.units.fingerprint import Fingerprint, Identity, content_hash

BUNDLED = "../encoder"
"""Encoder of a codebook that came with a model folder: the folder beside it."""

_LARGEST = 65_536
"""Units are stored as uint16."""


@dataclass(frozen=True)
class Codebook:
    """Centroids and what made them."""

    centroids: np.ndarray
    """float32 [K, d]."""
    encoder: EncoderSettings
    fingerprint: Fingerprint
    fit: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def create(centroids: np.ndarray, encoder: EncoderSettings, identity: Identity, fit: dict[str, Any]) -> "Codebook":
        """Join centroids with the identity of the encoder they were fitted on."""
        if len(centroids) > _LARGEST:
            raise ValueError(f"clusters={len(centroids)}: at most {_LARGEST}, because units are stored as uint16")
        hashed = content_hash([np.ascontiguousarray(centroids, np.float32).tobytes()])
        complete = replace(identity, codebook=hashed, clusters=len(centroids))
        numerics: dict[str, str] = {"encoder_dtype": encoder.dtype}
        return Codebook(centroids, encoder, Fingerprint(identity=complete, numerics=numerics), fit)

    @staticmethod
    def import_from(path: str | os.PathLike[str], encoder: EncoderSettings, *, trust_pickle: bool = False) -> "Codebook":
        """Centroids that another tool has fitted; see `exchange.read` for the kinds of files.

        Such a file does not say which encoder made its frames. The settings say it, the encoder is loaded for its identity, and
        the codebook carries the mark that this was asserted. Raises ValueError for a file that holds no centroids, a pickle
        without `trust_pickle`, and an encoder whose frames have another width.
        """
        from spire_ray.units import exchange
        from spire_ray.units.encoders.loading import load_encoder

        path = os.fspath(path)
        centroids = exchange.read(path, trust_pickle=trust_pickle)
        loaded = load_encoder(encoder)
        width = loaded.encode([np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)])[0].shape[1]
        if centroids.shape[1] != width:
            given = f"encoder={encoder.name}, layer={encoder.layer}: its frames have {width} dimensions"
            raise ValueError(f"{given}, the centroids of {path} have {centroids.shape[1]}")
        made = Codebook.create(centroids, encoder, loaded.identity, {"imported_from": path.rpartition("/")[2]})
        numerics = {**made.fingerprint.numerics, "asserted": "spire units import: encoder, layer and norm rule"}
        return replace(made, fingerprint=replace(made.fingerprint, numerics=numerics))

    def check_encoder(self, identity: Identity, where: str) -> None:
        """Raise ValueError if an encoder is not the one these centroids were fitted on."""
        mine = replace(self.fingerprint.identity, codebook="", clusters=0)
        Fingerprint(identity=mine).require(Fingerprint(identity=identity), where, "the encoder that was loaded")

    def check_sound(self, where: str) -> None:
        """Raise ValueError with the figures if the fit has collapsed: few units in use, or of few of them nearly all.

        Of an imported codebook no use is known, but centroids that are equal make one unit.
        """
        distinct = len(np.unique(self.centroids, axis=0))
        equal = f"{distinct} of {len(self.centroids)} centroids are distinct" if 2 * distinct < len(self.centroids) else ""
        if why := quality.collapse(self.fit.get("quality", {})) or equal:
            raise ValueError(f"codebook={where}: has collapsed: {why}; fit another one on more audio, or with fewer clusters")

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the folder; the JSON comes last and makes it complete."""
        folder = os.fspath(folder)
        storage.write_bytes(storage.join(folder, "codebook.safetensors"), save_safetensors({"centroids": self.centroids}))
        description = {"fingerprint": self.fingerprint.to_dict(), "encoder": asdict(self.encoder), "fit": self.fit}
        storage.write_json(storage.join(folder, "codebook.json"), description)

    @staticmethod
    def load(folder: str | os.PathLike[str]) -> "Codebook":
        """Read a folder. Raises ValueError if it is no codebook or its centroids are not the described ones."""
        folder = os.fspath(folder)
        path = storage.join(folder, "codebook.json")
        if not storage.exists(path):
            raise ValueError(f"codebook={folder}: no codebook.json there; fit one with the stage fit_codebook")
        description = storage.read_json(path)
        try:
            centroids = load_safetensors(storage.read_bytes(storage.join(folder, "codebook.safetensors")))["centroids"]
        except (FileNotFoundError, SafetensorError, KeyError) as error:
            raise ValueError(f"codebook={folder}: codebook.safetensors holds no centroids: {error}") from None
        fingerprint = Fingerprint.from_dict(description["fingerprint"])
        if content_hash([centroids.tobytes()]) != fingerprint.identity.codebook:
            raise ValueError(f"codebook={folder}: the centroids are not those that codebook.json describes")
        encoder = EncoderSettings(**description["encoder"])
        if encoder.name == BUNDLED:
            encoder = replace(encoder, name=storage.join(folder.rstrip("/").rpartition("/")[0] or ".", "encoder"))
        return Codebook(centroids, encoder, fingerprint, description["fit"])
