"""A manifest from any format into another."""

import argparse
from collections.abc import Iterable, Sequence

import pyarrow as pa

from spire_ray.core import command
from spire_ray.manifest import formats, reader, splits, writer


@command.cli_errors("manifest")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    parser = argparse.ArgumentParser("spire manifest", description="Convert a manifest; its rows are checked on the way.")
    parser.add_argument("source", help=f"Parquet, or one of {', '.join(formats.FORMATS)}; x-{{000..099}}.tar names several files")
    parser.add_argument("target", help="file, or folder for `audiofolder`; of webdataset NAME.tar becomes NAME-000000.tar and on")
    parser.add_argument("columns", nargs="*", metavar="column=NAME", help="a column's own name in the source: text=sentence")
    parser.add_argument("--to", default="parquet", choices=formats.writable(), help="format of the target (default parquet)")
    parser.add_argument(
        "--hold-out",
        type=float,
        metavar="PERCENT",
        help="of rows without a split go to `test`, by speaker, the rest to `train`",
    )
    options = parser.parse_intermixed_args(arguments)
    columns = dict(_pair(text) for text in options.columns)
    tables: Iterable[pa.Table] = (table for _, table in reader.located(options.source, columns))
    if options.hold_out is not None:
        tables = splits.held_out(tables, options.hold_out)
    writer.write(options.target, tables, options.to)
    return 0


def _pair(text: str) -> tuple[str, str]:
    column, sign, name = text.partition("=")
    if not sign:
        raise ValueError(f"column {text!r}: expected column=NAME, such as text=sentence")
    return column, name
