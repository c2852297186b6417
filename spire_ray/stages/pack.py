"""Prompts → tokens → full rows.

Three passes. Blocks of rows are tokenised and filtered by Ray Data actors, each into a Parquet file of its own, sorted by
key. One task decides from keys and lengths how much of each source is used. Groups of documents, which are ranges of keys,
are then packed by Ray Data tasks. The pack is a function of the documents alone: the number of workers and the size of a
block change nothing. A run that was killed continues with the blocks that are missing.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from spire_ray.core import storage, tables
from spire_ray.core.provenance import datasets_of, licenses_of, lineage
from spire_ray.core.stage import STAGES, Stage
from spire_ray.packs import balance, card, choice, conversations, mixture, tokens
from spire_ray.runtime import cluster, nodes
from spire_ray.runtime.job import Job
from spire_ray.settings import PackSettings, SourceSettings
from spire_ray.shards import marks
from spire_ray.text import prompts
from spire_ray.units.fingerprint import FINGERPRINT_FILE, Fingerprint

_ROWS_IN_A_BLOCK = 10_000
_PARTS_IN_A_BLOCK = 32


def plan(settings: PackSettings) -> Iterable[str]:
    """The sources and what each is to bring."""
    mixture.check(settings.sources)
    if not settings.sources:
        raise ValueError("sources: name at least one")
    balance.check(settings)
    if settings.sequence_length < 2:
        raise ValueError(f"sequence_length={settings.sequence_length}: a row holds 2 tokens at least")
    if settings.to == "jsonl" and settings.packing == "megatron":
        raise ValueError(
            "to=jsonl: other trainers begin every document with BOS; packing=megatron does not; use packing=best_fit"
        )
    prompts.STYLES[settings.prompts]  # refuses an unknown one
    lines = [f"{mixture.name(s)}: {card.planned(s, settings.scale)}, as {s.format}" for s in settings.sources]
    return (*lines, f"rows of {settings.sequence_length} tokens, {settings.packing}, prompts {settings.prompts}")


def run(job: Job[PackSettings]) -> None:
    """Tokenise, choose, pack, and tell what became of the recipe."""
    import ray

    from spire_ray.packs import pack
    from spire_ray.text.tokenizer import SpeechTokenizer

    settings = job.settings
    tokenizer = SpeechTokenizer(settings.model)
    end = tokens.terminator(settings, tokenizer)
    _check_sources(settings, tokenizer)
    work = storage.join(settings.output, tokens.WORK_FOLDER)
    blocks = [block for number in range(len(settings.sources)) for block in _blocks(settings, number)]
    numbered = [{**block, "block": number} for number, block in enumerate(blocks)]
    done = set(storage.listing(work))
    todo = [block for block in numbered if tokens.mark(block["block"]) not in done]
    for count in _tokenise(settings, todo):
        job.progress.update(len(numbered) - len(todo) + count, len(numbered), f"{count}/{len(todo)} blocks tokenised")
    chosen = ray.get(ray.remote(choice.choose).remote(settings, len(numbered)))
    form = pack.Form(settings.sequence_length, tokenizer.vocabulary_size, settings.packing, settings.seed)
    groups = []
    for group in _pack(settings, form, chosen, len(numbered)):
        groups.append(group)
        job.progress.update(len(groups), len(chosen.groups), f"{len(groups)}/{len(chosen.groups)} groups packed")
    groups.sort(key=lambda group: str(group["file"]))
    fingerprint = tokenizer.units.fingerprint.to_dict() if tokenizer.units else None
    index = {
        "sources": choice.account(settings, chosen, groups),
        "fingerprint": fingerprint,
        "model": settings.model,
        "tokenizer": tokenizer.record.tokenizer,
        "terminator": end,
        "prompts": settings.prompts,
        "rejected": chosen.rejected,
        "licenses": {name: stated for source in settings.sources for name, stated in licenses_of(source.data).items()},
        "prepared": {mixture.name(source): found for source in settings.sources if (found := _prepared(source.data))},
        "datasets": sorted({dataset for source in settings.sources for dataset in datasets_of(source.data)}),
    }
    facts = pack.write_index(settings.output, groups, form, index)
    card.write(settings.output, facts)
    if settings.to == "jsonl":
        conversations.write_templates(settings.output, tokenizer)
    storage.remove(work)
    _tell(job, facts)


class Tokenise:
    """A Ray Data actor: a block of rows → the file of its tokens and the file of what was refused."""

    def __init__(self, settings: PackSettings, deaths: Any = None) -> None:
        self._tokeniser, self._deaths = tokens.Tokeniser(settings), deaths

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """In: a block as `_blocks` describes it. Out: its number."""
        block = {key: value[0] for key, value in batch.items()}
        with nodes.counted(self._deaths, f"block {block['block']}"):
            self._tokeniser.write(block)
        return {"block": [block["block"]]}


def _tokenise(settings: PackSettings, blocks: list[dict[str, Any]]) -> Iterator[int]:
    """Tokenise the blocks; yields how many are done."""
    if not blocks:
        return
    tokenised = cluster.blocks(blocks).map_batches(
        Tokenise,
        fn_constructor_args=(settings, nodes.deaths()),
        batch_size=1,
        compute=cluster.actors(settings.workers, len(blocks), wait_minutes=settings.wait_minutes),
    )
    for count, _ in enumerate(tokenised.iter_rows(), 1):
        yield count


def _pack(settings: PackSettings, form: Any, chosen: choice.Choice, blocks: int) -> Iterator[dict[str, Any]]:
    """Pack the groups; yields the counts of each."""
    import json

    import ray

    shared = ray.put(chosen)  # what is left out may be long

    def pack_group(batch: dict[str, Any]) -> dict[str, Any]:
        return {"facts": [json.dumps(choice.pack_group(settings, form, ray.get(shared), blocks, int(batch["group"][0])))]}

    rows = [{"group": number} for number in range(len(chosen.groups))]
    for row in cluster.blocks(rows).map_batches(pack_group, batch_size=1).iter_rows():
        yield json.loads(row["facts"])


def _blocks(settings: PackSettings, number: int) -> Iterator[dict[str, Any]]:
    """Blocks of a source: some part files of a folder, or some rows of a file.

    Raises ValueError for a folder without parts.
    """
    source = settings.sources[number]
    if source.data.endswith(".parquet"):
        rows = tables.rows(source.data)
        for first in range(0, max(rows, 1), _ROWS_IN_A_BLOCK):
            yield {"source": number, "files": [source.data], "first": first, "rows": _ROWS_IN_A_BLOCK}
        return
    parts = [name for name in storage.listing(source.data) if name.startswith("part-") and name.endswith(".parquet")]
    if not parts:
        raise ValueError(f"sources.{mixture.name(source)}.data={source.data}: no part-*.parquet there")
    for start in range(0, len(parts), _PARTS_IN_A_BLOCK):
        files = [storage.join(source.data, name) for name in parts[start : start + _PARTS_IN_A_BLOCK]]
        yield {"source": number, "files": files, "first": 0, "rows": -1}


def _check_sources(settings: PackSettings, tokenizer: Any) -> None:
    """Refuse sources that do not go with the model or with each other, and warn of units that were made in different ways."""
    for source in settings.sources:
        _check_model(source, tokenizer, settings.model)
    spoken = list(dict.fromkeys(source.data for source in settings.sources if source.task in mixture.SPEECH_TASKS))
    for folder in spoken[1:]:
        _fingerprint(spoken[0]).require(_fingerprint(folder), spoken[0], folder)
    marks.check_numerics(spoken, settings.units.strict)


def _check_model(source: SourceSettings, tokenizer: Any, model: str) -> None:
    """Refuse units of another identity than those the model speaks, and chats that it has no tokens for."""
    field = f"sources.{mixture.name(source)}"
    if source.format == "it" and tokenizer.text.token_to_id(tokenizer.chat.closing.strip()) is None:
        raise ValueError(f"{field}.format=it: {model} has no token {tokenizer.chat.closing!r}; extend it with chat=chatml")
    if source.task not in mixture.SPEECH_TASKS:
        return
    if not storage.exists(storage.join(source.data, FINGERPRINT_FILE)):
        raise ValueError(f"{field}.data={source.data}: no {FINGERPRINT_FILE}; expected a folder of the stage label")
    if tokenizer.units is None:
        raise ValueError(f"model={model}: has no unit tokens; extend it with the stage extend_model")
    tokenizer.units.fingerprint.require(_fingerprint(source.data), model, source.data)


def _prepared(data: str) -> list[dict[str, Any]]:
    """What the stage prepare says of the rows of a source."""
    records = (record for record in lineage(data) if record.get("stage") == "prepare" and record["status"] == "complete")
    return [{key: record["facts"][key] for key in ("rows", "rejected", "hours", "figures")} for record in records]


def _fingerprint(folder: str) -> Fingerprint:
    return Fingerprint.from_dict(storage.read_json(storage.join(folder, FINGERPRINT_FILE)))


def _tell(job: Job[PackSettings], facts: dict[str, Any]) -> None:
    """What each source brought and what was refused, with an example of each reason."""
    for source in facts["sources"]:
        if source["short"]:
            print(f"  {source['name']}: {source['short']}")
    rejected = 0
    for name, reasons in facts["rejected"].items():
        for kind, found in reasons.items():
            rejected += found["count"]
            print(f"  {name}: left out {found['count']}: {kind}, such as {found['utt_id']} ({found['reason']})")
    job.facts |= {key: facts[key] for key in ("rows", "documents", "tokens", "counted_tokens", "fill")}
    job.facts |= {"left_out": rejected}
    job.tracker.log_artifact("card.md", storage.read_bytes(storage.join(job.settings.output, card.CARD_FILE)))


STAGES.register("pack", Stage(PackSettings, plan, run, uses="Ray Data"))
