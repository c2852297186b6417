"""Corpora: show the catalogue, fetch what a recipe names, check a copy."""

import argparse
from collections.abc import Sequence

from spire_ray.core import command
from spire_ray.corpora import catalogue


@command.cli_errors("data")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser("spire data", description="Corpora: what there is, fetch them, check a copy.")
    parser.add_argument("--catalogue", default=catalogue.FOLDER, metavar="DIR", help=f"default: {catalogue.FOLDER}")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="the catalogue, or one corpus of it")
    show.add_argument("corpus", nargs="?", default="")
    fetching = commands.add_parser("fetch", help="bring everything that a data recipe names")
    fetching.add_argument("recipe", help="YAML with corpora, models, splits")
    fetching.add_argument("--to", required=True, metavar="DIR|s3://…")
    checking = commands.add_parser("check", help="compare a copy with the corpus's own size")
    checking.add_argument("corpus")
    checking.add_argument("copy", metavar="DIR|s3://…")
    options = parser.parse_args(arguments)
    _run(options)
    return 0


def _run(options: argparse.Namespace) -> None:
    from spire_ray.corpora import check, fetch

    if options.command == "check":
        print(check.check(catalogue.corpus(options.corpus, options.catalogue), options.copy))
    elif options.command == "fetch":
        for name, counts in fetch.fetch(fetch.load(options.recipe), options.to, options.catalogue).items():
            more = f", {counts['untranslated']} without a translation" if "untranslated" in counts else ""
            print(f"{name}: {counts['rows']} rows, {counts['refused']} refused{more} → {options.to}/{name}")
    elif options.corpus:
        print(check.described(catalogue.corpus(options.corpus, options.catalogue)))
    else:
        for name, corpus in catalogue.load(options.catalogue).items():
            gate = ", gated" if corpus.gated else ""
            size = f"{corpus.hours:g} h" if corpus.hours else f"{corpus.rows} rows" if corpus.rows else "size unknown"
            print(f"{name:<20}{corpus.use:<12}{size:<28}{corpus.license}{gate}")
