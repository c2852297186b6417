"""A small random Llama and its tokenizer (quickstart)."""

from collections.abc import Iterable, Iterator

from spire_ray.core import storage
from spire_ray.core.stage import STAGES, Stage
from spire_ray.manifest import reader
from spire_ray.runtime.job import Job
from spire_ray.settings import InitModelSettings
from spire_ray.text import prompts


def plan(settings: InitModelSettings) -> Iterable[str]:
    """Shape of the model."""
    shape = settings.architecture
    if not storage.is_local(settings.output):
        raise ValueError(f"output={settings.output}: a model is written to a local or shared folder")
    line = f"Llama of {shape.layers} layers, d {shape.hidden_size}, {shape.heads} heads; vocabulary {settings.vocabulary}"
    return (line,)


def run(job: Job[InitModelSettings]) -> None:
    """Train the tokenizer, draw the weights, write the folder."""
    from spire_ray.quickstart import scratch

    settings = job.settings
    texts = list(_texts(settings.text))
    tokenizer = scratch.train_tokenizer(texts, settings.vocabulary)
    parameters = scratch.save_model(settings.output, tokenizer, settings.architecture, settings.seed)
    job.facts |= {"rows": len(texts), "parameters": parameters, "vocabulary": tokenizer.get_vocab_size()}


def _texts(manifest: str) -> Iterator[str]:
    """Every text with the prompts around it, so that their words become tokens too."""
    for row in reader.read(manifest).select(["text", "language", "translations"]).to_pylist():
        source = row["language"]
        yield f"{prompts.asr_prompt(source)} {row['text']}"
        for target, text in row["translations"] or ():
            yield f"{prompts.mt_prompt(row['text'], source, target)} {text}"
            yield prompts.mt_prompt(text, target, source)
        yield "user\nassistant\n"


STAGES.register("init_model", Stage(InitModelSettings, plan, run, uses="transformers"))
