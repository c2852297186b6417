"""Corpora and models of a data recipe → a folder or a bucket."""

from collections.abc import Iterable

from spire_ray.core import storage
from spire_ray.core.provenance import CORPUS_FILE, FETCHED
from spire_ray.core.stage import STAGES, Stage
from spire_ray.runtime.job import Job
from spire_ray.settings import FetchSettings


def plan(settings: FetchSettings) -> Iterable[str]:
    """Every corpus with its size and license. Raises ValueError for one that the catalogue does not know."""
    from spire_ray.corpora import catalogue

    corpora = [catalogue.corpus(name) for name in settings.corpora]
    sizes = [f"{c.name}: " + (f"{c.hours:g} h" if c.hours else f"{c.rows} rows" if c.rows else "size unknown") for c in corpora]
    copies = {name: f", of {place}" for name, place in settings.local.items()}
    said = [f"{size}, {c.license}{copies.get(c.name, '')}" for size, c in zip(sizes, corpora, strict=True)]
    return (*said, *(f"model {model}" for model in settings.models))


def run(job: Job[FetchSettings]) -> None:
    """Bring what is not there yet."""
    from spire_ray.corpora import fetch

    settings = job.settings
    recipe = fetch.Recipe(
        corpora=settings.corpora,
        models=settings.models,
        splits=settings.splits,
        casing=settings.casing,
        local=settings.local,
        license=settings.license,
    )
    found = fetch.fetch(recipe, settings.output)
    for name, counts in found.items():
        print(f"  {name}: {', '.join(f'{count} {key}' for key, count in counts.items())}")
    job.facts |= {key: sum(counts[key] for counts in found.values()) for key in ("rows", "refused")}


def grown(settings: FetchSettings) -> bool:
    """Whether a corpus or a model is named that has not been brought."""
    brought = [storage.join(settings.output, name, CORPUS_FILE) for name in settings.corpora]
    short = [model.partition("@")[0].rsplit("/", 1)[-1] for model in settings.models]
    brought += [storage.join(settings.output, "models", FETCHED, f"{name}.json") for name in short]
    return not all(storage.exists(place) for place in brought)


STAGES.register("fetch", Stage(FetchSettings, plan, run, uses="huggingface_hub", grown=grown))
