"""The stage init_model: a small random Llama with a tokenizer trained on text."""

from collections.abc import Iterator, Sequence

from spire_ray.core import storage
from spire_ray.manifest import reader
from spire_ray.runtime import stage
from spire_ray.runtime.stage import Job, Plan
from spire_ray.settings import InitModelSettings
from spire_ray.text import prompts


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the stage."""
    return stage.main("init_model", run, plan, arguments)


def plan(settings: InitModelSettings) -> Plan:
    """Shape of the model."""
    shape = settings.architecture
    if not storage.is_local(settings.output):
        raise ValueError(f"output={settings.output}: a model is written to a local or shared folder")
    line = f"Llama of {shape.layers} layers, d {shape.hidden_size}, {shape.heads} heads; vocabulary {settings.vocabulary}"
    return Plan({"text": settings.text}, (line,))


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
