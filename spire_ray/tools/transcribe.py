"""Audio files → text with any model folder, without a cluster."""

from spire_ray.inference.transcribe import main

__all__ = ["main"]
