"""What settings of the service are refused, before anything has started."""

from spire_ray.inference.engines import ENGINES
from spire_ray.serving import keys
from spire_ray.settings import ServeSettings


def check(settings: ServeSettings) -> None:
    """Raise ValueError for settings with which no service can start."""
    if settings.replicas > settings.max_replicas:
        raise ValueError(f"replicas={settings.replicas}: must be at most max_replicas={settings.max_replicas}")
    ENGINES[settings.engine]
    keys.hashes(settings)
