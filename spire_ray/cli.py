"""`spire`: every stage and tool, imported when it is called."""

import importlib
import sys
from collections.abc import Sequence

STAGES = {
    "corpus": "generated sentences, spoken by espeak-ng (quickstart)",
    "fit_codebook": "features of a sample → k-means centroids",
    "label": "audio → deduplicated discrete units",
    "init_model": "a small random Llama and its tokenizer (quickstart)",
    "extend_model": "tokenizer and embeddings extended by the units",
    "pack": "prompts → tokens → full rows",
    "pseudo_label": "transcripts → translations, filtered by quality estimation",
    "cpt": "continued pre-training",
    "it": "instruction tuning",
    "export": "checkpoint → Hugging Face model folder",
    "evaluate": "WER, BLEU and chrF of models on a split",
    "serve": "audio in, text out, over HTTP",
}
TOOLS = {
    "run": "run a recipe: stages in order, each in a process of its own",
    "data": "corpora: show the catalogue, fetch what a recipe names, check a copy",
    "units": "codebooks of other tools in and out; adopt: give a published model its fingerprint",
    "transcribe": "audio files → text with any model folder, without a cluster",
    "report": "the report of a finished recipe, or mean and spread over several seeds",
    "manifest": "a manifest from any format into another",
    "inspect": "rows of any stage, and their audio",
    "status": "progress, throughput and failures of a job",
    "audit": "every row of a labelling job accounted for",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_help())
        return 0
    name, rest = given[0], given[1:]
    if name == "transcribe":
        return int(importlib.import_module("spire_ray.inference.transcribe").main(rest))
    if name in TOOLS:
        return int(importlib.import_module(f"spire_ray.tools.{name}").main(rest))
    if name in ("cpt", "it"):
        return int(importlib.import_module("spire_ray.stages.train").main(name, rest))
    if name in STAGES:
        return int(importlib.import_module(f"spire_ray.stages.{name}").main(rest))
    print(f"spire: error: {name!r} is neither a stage nor a tool; `spire --help` lists them", file=sys.stderr)
    return 2


def _help() -> str:
    lines = ["usage: spire NAME …   (`spire NAME --help` for its options)", "", "stages"]
    lines += [f"  {name:<14}{text}" for name, text in STAGES.items()]
    lines += ["", "tools", *(f"  {name:<14}{text}" for name, text in TOOLS.items())]
    return "\n".join(lines)
