"""What several tests share: a small Ray cluster, and a tiny model that hears."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # serve/ is no part of the installed package


@pytest.fixture(scope="session")
def ray_session():
    """A Ray cluster on this machine, with 4 logical CPUs."""
    import ray

    ray.init(num_cpus=4, include_dashboard=False, object_store_memory=256 << 20, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny_codebook():
    """20 clusters of the cepstra of noise."""
    from spire_ray.settings import Encoder
    from spire_ray.units import kmeans
    from spire_ray.units.codebook import Codebook
    from spire_ray.units.encoder import load_encoder

    settings = Encoder(name="mfcc", hop_ms=40, context=9)
    encoder = load_encoder(settings)
    noise = np.random.default_rng(0).standard_normal(16_000 * 20).astype(np.float32) / 4
    fitted = kmeans.fit(encoder.encode([noise])[0].numpy(), 20, iterations=5, seed=0)
    return Codebook.create(fitted.centroids, settings, encoder.identity, {})


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, tiny_codebook):
    """A model folder with random weights, extended by the units of its codebook, as the stages make it."""
    from safetensors.torch import load_file, save_file

    from spire_ray.model.extend import extend
    from spire_ray.model.scratch import save_model, train_tokenizer
    from spire_ray.settings import Architecture, ExtendModel

    folder = tmp_path_factory.mktemp("model")
    base, model = str(folder / "base"), str(folder / "model")
    shape = Architecture(hidden_size=32, layers=1, heads=2, intermediate_size=64, max_positions=512)
    save_model(base, train_tokenizer(["Speech: the dog\nEnglish: German: der Hund"], 300), shape, seed=0)
    settings = ExtendModel(model=base, codebook=f"{model}/codebook", output=model)
    extend(base, model, tiny_codebook.fingerprint, settings)
    tiny_codebook.save(f"{model}/codebook")
    weights = load_file(f"{model}/model.safetensors")
    # larger ones, so that the answer depends on the units
    save_file(
        {name: 20 * w if "proj" in name else w for name, w in weights.items()}, f"{model}/model.safetensors", {"format": "pt"}
    )
    return model
