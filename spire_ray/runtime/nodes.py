"""The nodes of the cluster: which one this is, which others there are, and how work is kept away from some."""

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

MOST_DEATHS = 3
"""Workers that may die over one shard."""


def here() -> str:
    """The id of the node that this process runs on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def alive() -> int:
    """Nodes that are alive."""
    import ray

    return sum(node["Alive"] for node in ray.nodes())


def name(node: str) -> str:
    """Host and address of a node, as a person looks for it."""
    import ray

    found = next((one for one in ray.nodes() if one["NodeID"] == node), None)
    return f"{found['NodeManagerHostname']} ({found['NodeManagerAddress']}, {node[:8]})" if found else node[:8]


def others(than: Collection[str]) -> bool:
    """Whether a living node beside some has CPUs for work."""
    import ray

    return any(one["Alive"] and one["Resources"].get("CPU") and one["NodeID"] not in than for one in ray.nodes())


def room(cpus: float, gpus: float, beside: float = 0, without: Collection[str] = ()) -> int:
    """Workers that the living nodes hold at once, with `beside` CPUs left for others."""
    import ray

    found = [one["Resources"] for one in ray.nodes() if one["Alive"] and one["NodeID"] not in without]
    needed = {kind: number for kind, number in (("CPU", cpus), ("GPU", gpus)) if number}
    count = sum(int(min((has.get(kind, 0) / number for kind, number in needed.items()), default=0)) for has in found)
    left = sum(has.get("CPU", 0) for has in found) - beside
    return max(0, min(count, int(left / cpus) if cpus else count))


def avoiding(nodes: Collection[str]) -> dict[str, Any]:
    """Options of Ray for tasks and actors that must not run on some nodes."""
    return {"label_selector": {"ray.io/node-id": f"!in({','.join(sorted(nodes))})"}} if nodes else {}


class Deaths:
    """A Ray actor: how many workers have begun a piece of work and never ended it."""

    def __init__(self) -> None:
        self._begun: dict[str, list[str]] = {}

    def begin(self, work: str, node: str) -> list[str]:
        """Note a beginning; the nodes of those before it that have not ended."""
        before = list(self._begun.setdefault(work, []))
        self._begun[work].append(node)
        return before

    def end(self, work: str) -> None:
        """Note that it was done."""
        self._begun.pop(work, None)


def deaths() -> Any:
    """The count of this driver, which ends with it."""
    import ray

    return ray.remote(num_cpus=0)(Deaths).remote()


def begin(counted: Any, work: str) -> str:
    """To be called by a worker before a piece of work: why it is not to be begun once more; empty where it is."""
    import ray

    before = ray.get(counted.begin.remote(work, here()))
    if len(before) < MOST_DEATHS:
        return ""
    where = ", ".join(sorted({name(node) for node in before}))
    return f"{len(before)} workers died over it, on {where}: memory, or a crash of a library (SPIRE_WORKER_LOGS=1 shows it)"


@contextlib.contextmanager
def counted(deaths: Any, work: str) -> Iterator[None]:
    """For a piece of work of a worker; where nothing counts, it is just done.

    Raises ValueError where it is not to be begun once more.
    """
    if deaths is None:
        yield
        return
    if why := begin(deaths, work):
        raise ValueError(f"{work}: {why}; what is done stays, run it again to go on")
    yield
    deaths.end.remote(work)
