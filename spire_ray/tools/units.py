"""`spire units`: what can be done with units beside the stages."""

import argparse
import sys
from collections.abc import Sequence

USER_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser("spire units", description="Units and the models that speak them.")
    commands = parser.add_subparsers(dest="command", required=True)
    adopt = commands.add_parser("adopt", help="give a published model folder the fingerprint of its codebook")
    adopt.add_argument("model", help="local Hugging Face folder whose tokenizer holds the units")
    adopt.add_argument("codebook", help="codebook folder")
    options = parser.parse_args(arguments)
    try:
        return _adopt(options.model, options.codebook)
    except (ValueError, OSError) as error:
        print(f"units: error: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR


def _adopt(model: str, codebook: str) -> int:
    from spire_ray.model import licence
    from spire_ray.model.adopt import adopt
    from spire_ray.units.codebook import Codebook

    vocabulary = adopt(model, Codebook.load(codebook))
    last = vocabulary.first + vocabulary.count - 1
    print(f"{model}: units are ids {vocabulary.first} to {last}, as {vocabulary.surface}; the fingerprint is asserted")
    if found := licence.licence(model):
        print(f"  licence: {found}")
    return 0
