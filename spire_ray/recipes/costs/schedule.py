"""When the steps of a recipe run, two beside each other as `spire run` starts them, and how they share the cores of a machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spire_ray.recipes import plan, runner, shapes
from spire_ray.recipes.costs.work import Cost

_ALMOST = 1e-9


@dataclass
class _Running:
    """A step at work: its start on one core, then the rest."""

    start: float
    work: float
    """Core-seconds; of a step with GPUs, seconds."""
    cores: int

    def rate(self, share: float) -> float:
        """Seconds of work in one of the clock."""
        return share * (1 if self.start > _ALMOST else self.cores)

    @property
    def wanted(self) -> int:
        """Cores that it uses now."""
        return 1 if self.start > _ALMOST else self.cores


def wall(planned: shapes.Planned, costs: Mapping[str, Cost], cores: int, todo: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Seconds until the last of the steps ends, and what each takes beside the others."""
    needs = {name: plan.needs(name, planned) & set(todo) for name in todo}
    waiting, running, ended = list(todo), dict[str, _Running](), dict[str, float]()
    now, began = 0.0, dict[str, float]()
    while waiting or running:
        for name in [each for each in waiting if needs[each] <= ended.keys()][: runner.AT_ONCE - len(running)]:
            waiting.remove(name)
            began[name] = now
            running[name] = _begin(costs[name])
        share = min(1.0, cores / max(1, sum(each.wanted for each in running.values())))
        step = min((each.start if each.start > _ALMOST else each.work) / each.rate(share) for each in running.values())
        now += step
        for name, each in list(running.items()):
            done = step * each.rate(share)
            if each.start > _ALMOST:
                each.start -= done
            else:
                each.work -= done
            if each.start <= _ALMOST and each.work <= _ALMOST:
                ended[name] = now - began[name]
                del running[name]
    return now, ended


def _begin(cost: Cost) -> _Running:
    if cost.gpus:
        return _Running(cost.start.value, cost.seconds - cost.start.value, 1)
    return _Running(cost.start.value, cost.core_seconds, cost.cores)
