"""Corpora and models of a data recipe → a folder or a bucket."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spire_ray.core.stage import STAGES, Stage
from spire_ray.runtime.job import Job
from spire_ray.settings import FetchSettings

if TYPE_CHECKING:
    from spire_ray.corpora.fetch import Recipe


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

    found = fetch.fetch(_recipe(job.settings), job.settings.output)
    for name, counts in found.items():
        print(f"  {name}: {', '.join(f'{count} {key}' for key, count in counts.items())}")
    job.facts |= {key: sum(counts[key] for counts in found.values()) for key in ("rows", "refused")}


def grown(settings: FetchSettings) -> bool:
    """Whether a corpus, a split or a model is named that has not been brought. Raises ValueError for another revision of one."""
    from spire_ray.corpora import fetch

    return not fetch.is_there(_recipe(settings), settings.output)


def adopts(settings: FetchSettings) -> bool:
    """Whether what lies there was brought by `spire data fetch`."""
    from spire_ray.corpora import fetch

    return fetch.is_all_fetched(settings.output)


def _recipe(settings: FetchSettings) -> "Recipe":
    from spire_ray.corpora.fetch import Recipe

    return Recipe(
        corpora=settings.corpora,
        models=settings.models,
        splits=settings.splits,
        casing=settings.casing,
        local=settings.local,
        license=settings.license,
    )


STAGES.register("fetch", Stage(FetchSettings, plan, run, uses="huggingface_hub", grown=grown, adopts=adopts))
