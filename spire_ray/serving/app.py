"""The application on Ray Serve: `Ingress` (HTTP, decoding; CPU) asks replicas of `Model` (speech encoder and language model).

`serve run serve.app:build config=configs/quickstart/serve.yaml` starts it, from the checkout.
"""

import functools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import grpc
import numpy as np
from ray import serve
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError, WorkerCrashedError
from ray.serve import Application
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from spire_ray.core import config, references
from spire_ray.inference.asking import Wanted
from spire_ray.inference.conversation import Message
from spire_ray.inference.engines import EngineDead
from spire_ray.model import license
from spire_ray.serving import checks, keys, scaling
from spire_ray.serving.api import application as api
from spire_ray.serving.hearing import Description, Event, Hearing
from spire_ray.serving.refusal import overloaded
from spire_ray.serving.retrying import ReplicaLost, retried
from spire_ray.settings import ServeSettings

_INGRESS_CPUS, _MODEL_CPUS = 0.5, 1.0
_UNLIMITED = 100_000
"""Requests that Serve itself lets through: an overload is answered in the terms of the API, by the door of the ingress."""
_LOST = (ActorDiedError, ActorUnavailableError, WorkerCrashedError, DeploymentUnavailableError, EngineDead, grpc.aio.AioRpcError)


class Model(Hearing):
    """A Serve deployment: a replica that hears."""

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Ray Serve now and then."""
        return {scaling.METRIC: self.audio_in_work}


class Replicas:
    """The replicas of `Model`, as a `Backend`: a request whose replica is lost goes to another one."""

    def __init__(self, handle: DeploymentHandle) -> None:
        # by value: gRPC from process to process, which takes 3 ms less than arguments and results through Ray's store
        self._handle = handle.options(_by_reference=False)

    async def describe(self) -> Description:
        """See `Backend`."""
        found: Description = await self._once("describe")
        return found

    async def units(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Backend`."""
        found: tuple[np.ndarray, np.ndarray] = await self._once("units", samples)
        return found

    async def stats(self) -> dict[str, float]:
        """See `Backend`."""
        found: dict[str, float] = await self._once("stats")
        return found

    async def answer(self, samples: np.ndarray, wanted: Wanted, stream: bool) -> AsyncGenerator[Event]:
        """See `Backend`."""
        async with aclosing(retried(functools.partial(self._stream, "answer", samples, wanted, stream))) as events:
            async for event in events:
                yield event

    async def chat(self, messages: Sequence[Message], most: int, stream: bool) -> AsyncGenerator[Event]:
        """See `Backend`."""
        async with aclosing(retried(functools.partial(self._stream, "chat", messages, most, stream))) as events:
            async for event in events:
                yield event

    async def _once(self, method: str, *given: Any) -> Any:
        for last in (False, True):
            try:
                return await getattr(self._handle, method).remote(*given)
            except BackPressureError:
                raise overloaded() from None
            except Exception as error:
                if last or not _lost(error):
                    raise
        raise AssertionError

    async def _stream(self, method: str, *given: Any) -> AsyncGenerator[Event]:
        response = getattr(self._handle.options(stream=True), method).remote(*given)
        ended = False
        try:
            async for event in response:
                yield event
            ended = True
        except BackPressureError:
            raise overloaded() from None
        except Exception as error:
            ended = True
            if _lost(error):
                raise ReplicaLost(str(error)) from None
            raise
        finally:
            if not ended:
                response.cancel()


def _lost(error: Exception) -> bool:
    """Whether another replica may do what this one did not."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return isinstance(cause, _LOST) or isinstance(error, _LOST)


class Ingress:
    """A Serve deployment: HTTP in front of the replicas."""

    def __init__(self, settings: ServeSettings, known: tuple[str, ...], model: DeploymentHandle) -> None:
        self._app = api(settings, Replicas(model), known)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """The routes; Ray Serve calls this in the replica."""
        return self._app

    async def drain(self, seconds: float) -> None:
        """See `Door`."""
        await self._app.drain(seconds)


def build(args: dict[str, str]) -> Application:
    """The application of a configuration file: `config`, and any setting by its dotted name.

    Raises ValueError for settings or a model that cannot be served.
    """
    overrides = [f"{key}={value}" for key, value in args.items() if key != "config"]
    if "config" not in args:
        raise ValueError("config: name the configuration of the stage serve, such as config=configs/quickstart/serve.yaml")
    settings = config.load(args["config"], overrides, "serve")
    assert isinstance(settings, ServeSettings)
    return application(settings)


def application(settings: ServeSettings) -> Application:
    """The application of a configuration. Raises ValueError for settings or a model that cannot be served."""
    _check(settings)
    known = keys.hashes(settings)
    # pieces of a recording are answered beside each other; the door of the ingress says how many requests there may be
    most = 8 * settings.max_requests
    model = serve.deployment(
        Model,
        name="Model",
        autoscaling_config=scaling.config(settings),
        max_ongoing_requests=most,
        max_queued_requests=most,
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=60,
        ray_actor_options={"num_cpus": _MODEL_CPUS, "num_gpus": settings.gpus_per_replica},
    )
    ingress = serve.deployment(
        serve.ingress()(Ingress),
        name="Ingress",
        max_ongoing_requests=_UNLIMITED,
        graceful_shutdown_timeout_s=60,
        ray_actor_options={"num_cpus": _INGRESS_CPUS},
    )
    return ingress.bind(settings, known, model.bind(settings))


def needed(settings: ServeSettings) -> dict[str, float]:
    """CPUs and GPUs that have to be free for the application to start."""
    return {
        "CPU": _INGRESS_CPUS + _MODEL_CPUS * settings.replicas,
        "GPU": settings.gpus_per_replica * settings.replicas,
    }


def _check(settings: ServeSettings) -> None:
    checks.check(settings)
    from spire_ray.inference.speech_to_text import codebook_of

    place = references.described(settings.model)
    license.check(settings.model, settings.license.accept, place)
    codebook_of(place)
