"""The stage pack: units and text → prompts → tokens → full rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from spire_ray import storage
from spire_ray.distributed import context, stage
from spire_ray.distributed.label import FINGERPRINT_FILE
from spire_ray.distributed.stage import Job, Plan
from spire_ray.fingerprint import Fingerprint
from spire_ray.manifest.schema import REJECTED
from spire_ray.settings import Pack, Source
from spire_ray.text import mixture

_DOCUMENTS_IN_A_BLOCK = 2000


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the stage."""
    return stage.main("pack", run, plan, arguments)


def plan(settings: Pack) -> Plan:
    """The sources and their weights."""
    mixture.check(settings.sources)
    inputs = {"model": settings.model}
    inputs |= {f"sources.{mixture.name(source)}": source.data for source in settings.sources}
    lines = [f"{mixture.name(source)} × {source.weight:g}, as {source.format}" for source in settings.sources]
    return Plan(inputs, (*lines, f"rows of {settings.row_length} tokens"))


def run(job: Job[Pack]) -> None:
    """Tokenise by blocks with Ray Data, pack, shuffle, write."""
    from spire_ray.text import pack
    from spire_ray.text.tokenizer import SpeechTokenizer

    settings = job.settings
    tokenizer = SpeechTokenizer(settings.model)
    for source in settings.sources:
        _check_fingerprint(source, tokenizer, settings.model)
    blocks = [block for number, source in enumerate(settings.sources) for block in _blocks(source, number, settings.seed)]
    tokenised = context.blocks(blocks).map_batches(
        Tokenise,
        fn_constructor_args=(settings,),
        batch_size=1,
        batch_format="pyarrow",
        compute=context.actors(settings.workers, len(blocks)),
    )
    documents: list[tuple[int, list[pack.Document]]] = []
    rejected: list[dict[str, str]] = []
    for row in tokenised.iter_rows():
        documents.append((row["block"], _documents(row)))
        rejected += row["rejected"]
        job.progress.update(len(documents), len(blocks), f"{len(documents)}/{len(blocks)} blocks tokenised")
    ordered = [document for _, block in sorted(documents, key=lambda pair: pair[0]) for document in block]
    fingerprint = tokenizer.units.fingerprint.to_dict() if tokenizer.units else None
    counts = [sum(d.source == number for d in ordered) for number in range(len(settings.sources))]
    index = {
        "sources": [{"name": mixture.name(s), "documents": n} for s, n in zip(settings.sources, counts, strict=True)],
        "fingerprint": fingerprint,
        "rejected": rejected,
    }
    facts = pack.write(settings.output, ordered, settings.row_length, tokenizer.vocabulary_size, settings.seed, index)
    job.facts |= {key: facts[key] for key in ("rows", "documents", "tokens", "counted_tokens", "fill")}
    job.facts |= {"too_long": sum(facts["too_long"].values()), "rejected": len(rejected)}


class Tokenise:
    """A Ray Data actor: a block of prompted documents → their tokens."""

    def __init__(self, settings: Pack) -> None:
        from spire_ray.text.tokenizer import SpeechTokenizer

        self._settings = settings
        self._tokenizer = SpeechTokenizer(settings.model)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """In: `block`, `source`, `first`, `rows`, `seed`. Out: flat token ids, counted mask, lengths and utt_ids."""
        block = batch.to_pylist()[0]
        source = self._settings.sources[block["source"]]
        rows = _rows(source)[block["first"] : block["first"] + block["rows"]]
        prompted = mixture.documents(source, rows, block["seed"])
        encoded, rejected = self._encode(prompted)
        good = [(document, *pair) for document, pair in zip(prompted, encoded, strict=True) if pair is not None]
        tokens = [self._framed(ids, answers, document.everything_counts) for document, ids, answers in good]
        return pa.table(
            {
                "block": [block["block"]],
                "source": [block["source"]],
                "ids": pa.array(
                    [np.concatenate([ids for ids, _ in tokens] or [np.zeros(0, np.int32)]).tobytes()], pa.large_binary()
                ),
                "counted": pa.array([np.concatenate([c for _, c in tokens] or [np.zeros(0, bool)]).tobytes()], pa.large_binary()),
                "lengths": pa.array([[len(ids) for ids, _ in tokens]], pa.list_(pa.int64())),
                "utt_ids": pa.array([[document.utt_id for document, *_ in good]], pa.list_(pa.string())),
                "rejected": pa.array([rejected], pa.list_(pa.struct([("utt_id", pa.string()), ("reason", pa.string())]))),
            }
        )

    def _encode(self, prompted: list[mixture.Prompted]) -> tuple[list[Any], list[dict[str, str]]]:
        """Tokens of each document, None for those that are refused, and the reasons."""
        try:
            return list(self._tokenizer.encode([document.spans for document in prompted])), []
        except ValueError:  # one of them: find it
            pairs: list[Any] = []
            rejected = []
            for document in prompted:
                try:
                    pairs += self._tokenizer.encode([document.spans])
                except ValueError as error:
                    pairs.append(None)
                    rejected.append({"utt_id": document.utt_id, "reason": str(error)})
            return pairs, rejected

    def _framed(self, ids: np.ndarray, answers: np.ndarray, everything_counts: bool) -> tuple[np.ndarray, np.ndarray]:
        """BOS before every document, EOS after those whose every token counts."""
        bos, eos = np.array([self._tokenizer.bos], np.int32), np.array([self._tokenizer.eos], np.int32)
        if everything_counts:
            return np.concatenate([bos, ids, eos]), np.ones(len(ids) + 2, bool)
        return np.concatenate([bos, ids]), np.concatenate([[False], answers])


def _rows(source: Source) -> list[dict[str, Any]]:
    """Rows of a source in its split, rejected ones left out."""
    table = storage.read_parquet(source.data)
    columns = [
        c
        for c in ("utt_id", "text", "language", "translations", "units", "conversations", "status", "split")
        if c in table.column_names
    ]
    rows = table.select(columns).to_pylist()
    return [row for row in rows if row.get("split") == source.split and row.get("status") != REJECTED]


def _blocks(source: Source, number: int, seed: int) -> list[dict[str, int]]:
    rows = len(_rows(source))
    if not rows:
        raise ValueError(f"sources.{mixture.name(source)}: {source.data} has no rows of split {source.split!r}")
    return [
        {
            "block": number * 1_000_000 + first,
            "source": number,
            "first": first,
            "rows": min(_DOCUMENTS_IN_A_BLOCK, rows - first),
            "seed": seed * 1000 + number,
        }
        for first in range(0, rows, _DOCUMENTS_IN_A_BLOCK)
    ]


def _check_fingerprint(source: Source, tokenizer: Any, model: str) -> None:
    """Refuse units of another identity than those the model speaks."""
    path = storage.join(source.data, FINGERPRINT_FILE)
    if source.task not in mixture.SPEECH_TASKS:
        return
    if not storage.exists(path):
        raise ValueError(
            f"sources.{mixture.name(source)}.data={source.data}: no {FINGERPRINT_FILE}; expected a folder of the stage label"
        )
    if tokenizer.units is None:
        raise ValueError(f"model={model}: speaks no units; extend it with the stage extend_model")
    tokenizer.units.fingerprint.require(Fingerprint.from_dict(storage.read_json(path)), model, source.data)


def _documents(row: dict[str, Any]) -> list[Any]:
    from spire_ray.text.pack import Document

    cuts = np.cumsum(row["lengths"])[:-1]
    ids = np.split(np.frombuffer(row["ids"], np.int32), cuts)
    counted = np.split(np.frombuffer(row["counted"], bool), cuts)
    pieces = zip(ids, counted, row["utt_ids"], strict=False)
    return [Document(i, c, utt_id, row["source"]) for i, c, utt_id in pieces]
