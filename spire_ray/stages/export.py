"""Checkpoint → Hugging Face model folder.

The newest complete one, with its codebook and its card.
"""

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from spire_ray.core import copies, references, storage
from spire_ray.core.provenance import hub_model
from spire_ray.core.stage import STAGES, Stage
from spire_ray.model import license
from spire_ray.model.card import Card
from spire_ray.model.extension import new_rows
from spire_ray.runtime.job import Job
from spire_ray.settings import ExportSettings, LoraSettings
from spire_ray.stages._train import read_metrics
from spire_ray.text.record import Record


def plan(settings: ExportSettings) -> Iterable[str]:
    """Where from and in which precision."""
    lines = [f"weights as {settings.dtype}"]
    if settings.with_encoder:
        lines.append("the speech encoder goes into encoder/")
    return lines


def run(job: Job[ExportSettings]) -> None:
    """Merge the checkpoint and put what belongs to the model beside the weights."""
    import torch

    from spire_ray.model.describe import describe
    from spire_ray.model.export import export
    from spire_ray.units.codebook import BUNDLED, Codebook

    settings = job.settings
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed, which transformers imports, warns
    made = _training(settings.training)
    if settings.samples and not made["held_out"]["pack"]:
        raise ValueError(f"samples={settings.samples}: the training {settings.training} has no held_out.pack to take them from")
    base = copies.localize(made["model"])
    trained = made["training"].get("lora", {})
    adapters = LoraSettings(**{**trained, "targets": tuple(trained["targets"])}) if trained else LoraSettings()
    with copies.new_folder(settings.output) as folder:
        record = export(settings.training, base, folder, getattr(torch, settings.dtype), adapters)
        codebook = storage.join(base, "codebook")
        if storage.exists(codebook):
            loaded = Codebook.load(codebook)
            if settings.with_encoder and references.has_weights(loaded.encoder.name):
                license.check_encoder(loaded.encoder.name, settings.license.accept, loaded.encoder.revision)
                _bundle(loaded.encoder.name, storage.join(folder, "encoder"))
                loaded = replace(loaded, encoder=replace(loaded.encoder, name=BUNDLED))
            loaded.save(storage.join(folder, "codebook"))
        index = storage.read_json(storage.join(made["pack"], "index.json"))
        card = _card(settings, made, base, record, index, describe(folder, index))
        storage.write_bytes(storage.join(folder, license.CARD), card.markdown().encode())
        if settings.samples:
            job.tracker.log_artifact("samples.md", _samples(settings, folder, made, base).encode())
    said = {
        "license": card.license,
        "step": str(record["step"]),
        **{name: f"{value:.6g}" for name, value in card.metrics.items()},
    }
    job.tracker.log_model(
        settings.registered_name or card.name, storage.absolute(settings.output), said, registered=settings.registered_name
    )
    job.facts |= {"step": record["step"], **({"license": card.license} if card.license else {})}


def _training(folder: str) -> dict[str, Any]:
    """The settings of the training that made a folder. Raises ValueError for a folder of anything else."""
    path = storage.join(folder, "run.json")
    record = storage.read_json(path) if storage.exists(path) else {}
    if record.get("stage") not in ("cpt", "it"):
        raise ValueError(f"training={folder}: is no output of cpt or it")
    made: dict[str, Any] = record["resolved"]
    return made


def _card(
    settings: ExportSettings, made: dict[str, Any], base: str, record: dict[str, Any], index: dict[str, Any], said: Record
) -> Card:
    licenses = {"base model": license.license(base), **index.get("licenses", {})}
    last = {key: value for line in read_metrics(settings.training) for key, value in line.items()}
    shown = {key: value for key, value in last.items() if key in ("loss", "epoch", "rows") or key.startswith("held_out/")}
    return Card(
        name=os.path.basename(os.path.dirname(os.path.abspath(settings.output))) or "spire",
        base=hub_model(made["model"]),
        licenses=licenses,
        license=license.strictest(licenses.values()),
        languages=said.languages,
        step=record["step"],
        pack=index,
        metrics=shown,
        record=said,
    )


def _samples(settings: ExportSettings, folder: str, made: dict[str, Any], base: str) -> str:
    """What the exported model says to held-out documents, written beside it and returned."""
    from spire_ray.inference.generate import HuggingFaceGenerator
    from spire_ray.inference.samples import markdown, samples
    from spire_ray.packs.pack import Pack

    generator = HuggingFaceGenerator(folder, max_new_tokens=settings.max_new_tokens)
    text = markdown(generator, samples(Pack(made["held_out"]["pack"]), new_rows(base)[0], settings.samples))
    storage.write_bytes(storage.join(folder, "samples.md"), text.encode())
    return text


def _bundle(encoder: str, target: str) -> None:
    """Copy an encoder, a folder or an id of the hub, beside the model."""
    local = copies.localize(encoder)
    if not os.path.isdir(local):
        from huggingface_hub import snapshot_download

        local = snapshot_download(encoder)
    shutil.copytree(local, target, dirs_exist_ok=True)


STAGES.register("export", Stage(ExportSettings, plan, run, uses="transformers"))
