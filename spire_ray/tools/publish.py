"""A model folder put on the Hugging Face Hub: weights, tokenizer, codebook and card."""

import argparse
import io
import os
from collections.abc import Sequence

from spire_ray.core import command, copies, references

_MESSAGE = "Model, codebook and card, from spire-ray"


@command.cli_errors("publish")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    parser = argparse.ArgumentParser("spire publish", description="Put a model folder on the Hugging Face Hub, as one commit.")
    parser.add_argument("folder", help="output of the stage export, local, `s3://…` or models:/NAME/VERSION")
    parser.add_argument("name", metavar="ORG/NAME", help="the repository, made where it is not there")
    parser.add_argument("--license", default="", help="of a model whose card names none, as the Hub writes it: apache-2.0")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent, and end")
    options = parser.parse_args(arguments)
    from spire_ray.model import publishing

    name = options.name
    if not references.is_hub_id(name) or "@" in name or name.count("/") != 1:
        raise ValueError(f"ORG/NAME={name}: expected the name of a user or organization, a slash and that of the model")
    folder = copies.localize(references.local_model(options.folder, "folder"))
    parcel = publishing.parcel(folder, name, options.license)
    for file, size in {**parcel.files, publishing.CARD: len(parcel.card.encode())}.items():
        print(f"  {size:>14,}  {file}")
    print(f"{parcel.size / 1e6:,.1f} MB, {parcel.license} → https://huggingface.co/{name}")
    if not options.dry_run:
        print(_send(folder, name, parcel.card, list(parcel.files), options.private))
    return 0


def _send(folder: str, name: str, card: str, files: Sequence[str], private: bool) -> str:
    """Make the repository and one commit; the commit's address. Raises ValueError for what the Hub refuses."""
    from huggingface_hub import CommitOperationAdd, HfApi, errors

    operations = [CommitOperationAdd(file, os.path.join(folder, file)) for file in files]
    operations.append(CommitOperationAdd("README.md", io.BytesIO(card.encode())))
    try:
        api = HfApi()
        api.create_repo(name, private=private, exist_ok=True)
        if private and not api.repo_info(name).private:
            raise ValueError(f"--private: {name} is there already and public; make it private on the Hub, or leave it out")
        return str(api.create_commit(name, operations, commit_message=_MESSAGE).commit_url)
    except errors.LocalTokenNotFoundError:
        reason = "no token: `hf auth login`, or set HF_TOKEN"
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        reason = str(error).strip().splitlines()[0]
    raise ValueError(f"{name}: the Hugging Face Hub does not take it: {reason}")
