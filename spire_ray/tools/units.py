"""Codebooks of other tools in and out; sweep: compare them; adopt: give a published model its fingerprint."""

import argparse
from collections.abc import Sequence

from spire_ray.core import command, storage
from spire_ray.settings import EncoderSettings
from spire_ray.tools import _agree, _sweep


@command.cli_errors("units")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser("spire units", description="Units, codebooks and the models that speak them.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_adopt(commands.add_parser("adopt", help="give a published model folder the fingerprint of its codebook"))
    _add_import(commands.add_parser("import", help="centroids of scikit-learn, fairseq, SpireLM, numpy or faiss → codebook"))
    _add_export(commands.add_parser("export", help="codebook → .npy, or scikit-learn's k-means in joblib"))
    agreeing = commands.add_parser("agree", help="how far two folders of units of the same utterances say the same")
    _agree.add_options(agreeing)
    agreeing.set_defaults(run=_agree.run)
    compared = commands.add_parser("sweep", help="codebooks of several layers and sizes, side by side")
    _sweep.add_options(compared)
    compared.set_defaults(run=_sweep.run)
    options = parser.parse_args(arguments)
    options.run(options)
    return 0


def _add_adopt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="local Hugging Face folder whose tokenizer holds the units")
    parser.add_argument("codebook", help="codebook folder")
    parser.set_defaults(run=_adopt)


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help=".npy, faiss index, or scikit-learn's k-means in joblib")
    parser.add_argument("codebook", help="codebook folder to make")
    parser.add_argument("--encoder", required=True, help="Hugging Face id or folder of the encoder that made the frames")
    parser.add_argument("--revision", default="", help="of the encoder")
    parser.add_argument("--layer", type=int, required=True, help="block whose output the frames are, 1-based")
    parser.add_argument("--final-layer-norm", action="store_true", help="the frames went through the encoder's final norm")
    parser.add_argument("--pooling", choices=["mean", "max"], default="mean")
    parser.add_argument("--pooling-width", type=int, default=1, help="neighbouring frames pooled into one")
    parser.add_argument("--trust-pickle", action="store_true", help="read joblib files, as arrays and nothing else")
    parser.set_defaults(run=_import)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("codebook", help="codebook folder")
    parser.add_argument("file", help="ends in .npy or .joblib")
    parser.set_defaults(run=_export)


def _adopt(options: argparse.Namespace) -> None:
    from spire_ray.model import license
    from spire_ray.model.adopt import adopt
    from spire_ray.units.codebook import Codebook

    model = options.model
    vocabulary = adopt(model, Codebook.load(options.codebook))
    last = vocabulary.first + vocabulary.count - 1
    print(f"{model}: units are ids {vocabulary.first} to {last}, as {vocabulary.surface}; the fingerprint is asserted")
    if found := license.license(model):
        print(f"  license: {found}")


def _import(options: argparse.Namespace) -> None:
    from spire_ray.units.codebook import Codebook

    if storage.listing(options.codebook):
        raise ValueError(f"{options.codebook}: holds files; choose an empty folder")
    encoder = EncoderSettings(
        name=options.encoder,
        revision=options.revision,
        layer=options.layer,
        final_layer_norm=options.final_layer_norm,
        pooling=options.pooling,
        pooling_width=options.pooling_width,
    )
    codebook = Codebook.import_from(options.file, encoder, trust_pickle=options.trust_pickle)
    codebook.save(options.codebook)
    clusters, width = codebook.centroids.shape
    print(f"{options.codebook}: {clusters} clusters of {width} dimensions; that {encoder.name} made their frames is asserted")


def _export(options: argparse.Namespace) -> None:
    from spire_ray.units import exchange
    from spire_ray.units.codebook import Codebook

    centroids = Codebook.load(options.codebook).centroids
    exchange.write(options.file, centroids)
    print(f"{options.file}: {len(centroids)} centroids; encoder and layer stay in {options.codebook}/codebook.json")
