"""Rows that were rejected, with their reasons, as a manifest that can be prepared or labelled."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.core import command, provenance, storage, tables
from spire_ray.manifest import parquet, reader
from spire_ray.manifest.formats import nemo
from spire_ray.manifest.schema import MANIFEST, REJECTED
from spire_ray.shards import account, ids, marks, parts, planning


@command.cli_errors("rejected")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    parser = argparse.ArgumentParser("spire rejected", description="Rows that were rejected, as JSON lines or Parquet.")
    parser.add_argument("folder", help="output folder of the stage prepare or label")
    parser.add_argument("--reason", default="", help="only rows with this reason; the reasons are counted on stderr")
    parser.add_argument(
        "--to", default="", metavar="FILE.parquet", help="write a Parquet manifest, which holds audio that is no file, too"
    )
    options = parser.parse_args(arguments)
    stage = provenance.read(options.folder, "prepare", "label")["stage"]
    total = marks.total(marks.read(options.folder)).rejected
    for line in account.lines(total):
        print(line, file=sys.stderr)
    if options.reason and options.reason not in total:
        raise ValueError(f"--reason {options.reason}: no row has it; there are {', '.join(sorted(total)) or 'none'}")
    kinds = [options.reason] if options.reason else list(total)
    found = left_out(options.folder, kinds) if stage == "prepare" else rows(options.folder, kinds)
    if options.to:
        parquet.write(options.to, (table for table, _ in found))
        return 0
    for table, errors in found:
        for row in table.to_pylist():
            if (row["audio"] or {}).get("bytes") is not None:
                raise ValueError(f"{row['utt_id']}: its audio is in the manifest itself; --to FILE.parquet writes it")
            print(json.dumps(nemo.line(row) | {"error": errors[row["utt_id"]]}, ensure_ascii=False))
    return 0


def rows(folder: str, kinds: Sequence[str]) -> Iterator[tuple[pa.Table, dict[str, str]]]:
    """The manifest's rows that were rejected for some kinds of reasons, shard by shard, and the reason of each."""
    columns = provenance.read(folder)["resolved"]["columns"]
    there = marks.by_shard(folder, marks.Mark)
    seen: Counter[str] = Counter()
    for shard in planning.read(folder):
        if shard.shard not in there or not set(kinds) & set(there[shard.shard].rejected):
            continue
        errors = parts.rejected(folder, shard.shard, kinds)
        table = reader.rows(shard.file, planning.columns_in(shard.file, columns), shard.first, shard.rows)
        known = set(table["utt_id"].to_pylist())
        named = {ids.planned(utt_id, known): error for utt_id, error in errors.items()}
        new = [utt_id for utt_id in named if not seen[utt_id]]  # a long recording has several shards
        seen.update(new if shard.begin is not None else ())
        yield table.filter(pc.is_in(table["utt_id"], pa.array(new, pa.string()))), named


def left_out(folder: str, kinds: Sequence[str]) -> Iterator[tuple[pa.Table, dict[str, str]]]:
    """As `rows`, of a prepared manifest: rows, and pieces of rows that were cut."""
    place = storage.join(folder, REJECTED)
    for number in sorted(number for number, mark in marks.by_shard(folder, marks.Mark).items() if mark.rejected):
        errors = parts.rejected(place, number, kinds)
        table = tables.read(marks.part(place, number))
        yield table.filter(pc.is_in(table["utt_id"], pa.array(list(errors), pa.string()))).select(MANIFEST.names), errors
