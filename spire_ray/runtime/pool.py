"""Shards through a pool of actors, with Ray Data: one that dies is started again and its shard tried again, within bounds."""

from collections.abc import Iterator
from typing import Any

from spire_ray.runtime import cluster, nodes


def results(actor: type[Any], settings: Any, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What `actor(settings, nodes.deaths())` makes of each row of a plan, as they are done.

    `settings` say `workers`, `threads` and `gpus_per_worker` of each, and `wait_minutes` for a cluster that grows. An actor gets
    and returns Arrow tables of one row.
    """
    pool = cluster.actors(
        settings.workers, len(rows), settings.threads, settings.gpus_per_worker, 0, wait_minutes=settings.wait_minutes
    )
    made = cluster.blocks(rows).map_batches(
        actor,
        fn_constructor_args=(settings, nodes.deaths()),
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=settings.threads,
        num_gpus=settings.gpus_per_worker or None,
        compute=pool,
    )
    yield from made.iter_rows()
