"""The door of `serve run serve.app:build config=FILE`: the application is `spire_ray.serving.app`."""

from spire_ray.serving.app import build

__all__ = ["build"]
