"""Tokenizer and embeddings extended by the units."""

from collections.abc import Iterable
from pathlib import Path

from spire_ray.core import copies, references, storage
from spire_ray.core.stage import STAGES, Stage
from spire_ray.model import tensors
from spire_ray.runtime.job import Job
from spire_ray.settings import ExtendModelSettings


def plan(settings: ExtendModelSettings) -> Iterable[str]:
    """What is added."""
    if settings.pad_to_multiple_of < 1:
        raise ValueError(f"pad_to_multiple_of={settings.pad_to_multiple_of}: must be above 0; 1 pads nothing")
    if storage.is_local(settings.model) and storage.exists(storage.join(settings.model, "config.json")):
        tensors.require_extendable(Path(settings.model))
    line = f"units as {settings.surface}, new rows from {settings.init}, padded to a multiple of {settings.pad_to_multiple_of}"
    return (line,)


def run(job: Job[ExtendModelSettings]) -> None:
    """Extend tokenizer and embeddings and take the codebook along."""
    from spire_ray.model import license
    from spire_ray.model.extend import extend
    from spire_ray.units.codebook import Codebook

    settings = job.settings
    license.check(settings.model, settings.license.accept)
    codebook = Codebook.load(settings.codebook)
    with copies.new_folder(settings.output) as folder:
        vocabulary = extend(references.local_model(settings.model), folder, codebook.fingerprint, settings)
        codebook.save(storage.join(folder, "codebook"))
    job.facts |= {"rows": vocabulary.count, "first_unit": vocabulary.first}


STAGES.register("extend_model", Stage(ExtendModelSettings, plan, run, uses="transformers"))
