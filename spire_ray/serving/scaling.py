"""How many replicas there are: by the audio that is in work, not by requests, of which one may be a second long or an hour."""

from typing import Any

from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from spire_ray.settings import ServeSettings

METRIC = "audio_seconds"
"""What a replica says of itself: seconds of audio that it was asked about and has not answered."""
_LOOK_BACK, _UP, _DOWN = 15.0, 10.0, 300.0
"""Seconds over which the metric is averaged, and for which it has to ask for more or fewer replicas."""


class AudioInWork:
    """A policy of Ray Serve."""

    def __init__(self, per_replica: float) -> None:
        """`per_replica` seconds of audio are one replica's work."""
        self._per_replica = per_replica

    def __call__(self, context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        """Replicas that are wanted; Serve rounds up and keeps to its bounds."""
        said = (context.aggregated_metrics or {}).get(METRIC, {})
        return max(1.0, sum(said.values()) / self._per_replica), {}


def config(settings: ServeSettings) -> AutoscalingConfig:
    """From `replicas` to `max_replicas`."""
    return AutoscalingConfig(
        min_replicas=settings.replicas,
        max_replicas=settings.max_replicas,
        look_back_period_s=_LOOK_BACK,
        upscale_delay_s=_UP,
        downscale_delay_s=_DOWN,
        policy=AutoscalingPolicy(policy_function=AudioInWork, policy_kwargs={"per_replica": settings.audio_per_replica}),
    )
