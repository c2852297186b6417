"""The stage export: newest complete checkpoint → Hugging Face model folder, with its codebook."""

from collections.abc import Sequence

from spire_ray import storage
from spire_ray.distributed import stage
from spire_ray.distributed.stage import Job, Plan
from spire_ray.settings import Export


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the stage."""
    return stage.main("export", run, plan, arguments)


def plan(settings: Export) -> Plan:
    """Where from and in which precision."""
    return Plan({"training": settings.training}, (f"weights as {settings.dtype}",))


def run(job: Job[Export]) -> None:
    """Merge the checkpoint and copy what belongs to the model beside the weights."""
    import torch

    from spire_ray.model.export import export
    from spire_ray.units.codebook import Codebook

    settings = job.settings
    base = storage.read_json(storage.join(settings.training, "run.json"))["resolved"]["model"]
    record = export(settings.training, base, settings.output, getattr(torch, settings.dtype))
    codebook = storage.join(base, "codebook")
    if storage.exists(codebook):
        Codebook.load(codebook).save(storage.join(settings.output, "codebook"))
    job.facts |= {"step": record["step"]}
