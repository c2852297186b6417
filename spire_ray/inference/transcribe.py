"""Audio → text in this process: `spire transcribe CLIP… --model M`, without Ray and without a cluster.

The functions below are what the server needs as well, so that both give the same text: the model folder, its codebook,
how much speech fits and how it is asked about. Everything heavy is imported when it is needed.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spire_ray.core import command

if TYPE_CHECKING:
    import numpy as np

    from spire_ray.inference.generate import HuggingFaceGenerator
    from spire_ray.text.chat import ChatFormat
    from spire_ray.text.prompts import Span
    from spire_ray.units.codebook import Codebook
    from spire_ray.units.labeler import Labeler

_AT_ONCE = 16
"""Clips in one batch."""
_MODEL_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
"""What is fetched from the Hugging Face Hub."""


@command.cli_errors("transcribe")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool: one line `path<TAB>text` for each clip; returns the exit status.

    A clip that cannot be used is named on stderr with its reason and makes the status 2; the others are still printed.
    """
    parser = argparse.ArgumentParser("spire transcribe", description="Audio files to text with any model folder.")
    parser.add_argument("clips", nargs="+", metavar="CLIP", help="audio file: wav, flac, mp3 or ogg")
    parser.add_argument("--model", required=True, help="model folder, or Hugging Face id, id@revision to pin it")
    parser.add_argument("--codebook", default="", help="codebook folder (default: codebook/ in the model folder)")
    parser.add_argument("--to", default="", metavar="LANGUAGE", help="translate: English name or ISO 639-1 code")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args(arguments)
    return _transcribe(options.clips, options.model, options.codebook, options.to, options.device)


def model_folder(model: str) -> str:
    """A local folder with the model: the folder itself, or a copy of an `s3://` folder or of a Hugging Face `id[@revision]`.

    Raises ValueError, saying what to do, for a model that is not there or cannot be had.
    """
    from spire_ray.core import storage

    if storage.exists(model):
        return storage.localize(model)
    if not storage.is_local(model):
        raise ValueError(f"model={model}: not found")
    return _from_hub(model)


def codebook_of(model: str, folder: str = "") -> "Codebook":
    """The codebook in `folder`, by default the one in the local model folder.

    Raises ValueError for a model that has no unit tokens, a missing codebook and one that makes other units.
    """
    from spire_ray.core import storage
    from spire_ray.text.tokenizer import UNITS_FILE, UnitVocabulary
    from spire_ray.units.codebook import Codebook

    vocabulary = UnitVocabulary.load(model)
    if vocabulary is None:
        raise ValueError(
            f"model={model}: no {UNITS_FILE} there, so it has no unit tokens; extend it with the stage extend_model, "
            "or, if its vocabulary has units already as SpireFull's does, say which codebook made them with `spire units adopt`"
        )
    folder = folder or storage.join(model, "codebook")
    codebook = Codebook.load(folder)
    vocabulary.fingerprint.require(codebook.fingerprint, f"model={model}", f"codebook={folder}")
    return codebook


def question(markup: "ChatFormat", units: "np.ndarray", language: str = "en", to: str = "") -> "list[Span]":
    """The prompt that asks for the transcript of units or, with `to`, for their translation, in the chat format of a model."""
    from spire_ray.text import prompts

    turn = prompts.Turn(prompts.st_prompt(to) if to else prompts.asr_prompt(language))
    return prompts.chat([turn], units, markup)


def room(generator: "HuggingFaceGenerator") -> int:
    """Units that fit into the model's positions beside the question in any language and an answer.

    Raises ValueError if none does.
    """
    import numpy as np

    from spire_ray.text.languages import registry

    tokenizer = generator.tokenizer
    questions = [question(tokenizer.chat, np.zeros(0, np.uint16), code) for code in registry()]
    longest = max(len(ids) for ids, _ in tokenizer.encode(questions))
    units = generator.longest_prompt - 1 - longest  # BOS
    if units < 1:
        raise ValueError(f"max_new_tokens: answers so long leave no room for audio in the model's positions ({units} units)")
    return units


def _from_hub(model: str) -> str:
    from huggingface_hub import errors, snapshot_download

    name, _, revision = model.partition("@")
    try:
        return snapshot_download(name, revision=revision or None, allow_patterns=_MODEL_FILES)
    except errors.HFValidationError:
        reason = "no such folder, and not a Hugging Face id"
    except errors.GatedRepoError:
        reason = f"gated: accept its terms at https://huggingface.co/{name} and set HF_TOKEN"
    except errors.RepositoryNotFoundError:
        reason = "no such folder, and no such model on the Hugging Face Hub; if it is private, set HF_TOKEN"
    except errors.RevisionNotFoundError:
        reason = f"its repository has no revision {revision!r}"
    except errors.LocalEntryNotFoundError:
        offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
        advice = "unset HF_HUB_OFFLINE" if offline else "check the connection"
        reason = f"no such folder, not in the cache at HF_HOME, and the Hugging Face Hub is out of reach: {advice}"
    except OSError as error:
        reason = f"not to be had from the Hugging Face Hub: {error}"
    raise ValueError(f"model={model}: {reason}")


def _transcribe(clips: Sequence[str], model: str, codebook: str, to: str, device: str) -> int:
    """Print the text of every clip that can be used."""
    if to:
        from spire_ray.text.languages import language

        to = language(to).code
    folder = model_folder(model)
    fitting = codebook_of(folder, codebook)

    import torch
    from transformers.utils import logging

    from spire_ray.inference.generate import HuggingFaceGenerator
    from spire_ray.settings import ServeSettings
    from spire_ray.units.labeler import Labeler

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch finds no GPU here")
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    labeler = Labeler(fitting, device)
    generator = HuggingFaceGenerator(folder, device=device, max_new_tokens=ServeSettings.max_new_tokens, batch_size=_AT_ONCE)
    longest = room(generator)
    refused = 0
    for start in range(0, len(clips), _AT_ONCE):
        heard: list[tuple[str, np.ndarray]] = []
        for clip in clips[start : start + _AT_ONCE]:
            try:
                heard.append((clip, _hear(clip, labeler, longest)))
            except ValueError as error:
                refused += 1
                print(f"transcribe: error: {clip}: {error}", file=sys.stderr)
        texts = generator([question(generator.tokenizer.chat, units, to=to) for _, units in heard])
        for (clip, _), text in zip(heard, texts, strict=True):
            print(f"{clip}\t{' '.join(text.split())}", flush=True)
    return command.USER_ERROR if refused else 0


def _hear(clip: str, labeler: "Labeler", longest: int) -> "np.ndarray":
    """The units of one clip. Raises ValueError for a clip that cannot be used."""
    from spire_ray.audio import decode

    samples = decode.load_pcm(clip)
    if len(samples) < labeler.encoder.shortest:
        raise ValueError(f"shorter than one frame: {len(samples)} of {labeler.encoder.shortest} samples")
    [(units, _)] = labeler([samples], deduplicate=True)
    if len(units) > longest:
        raise ValueError(f"{len(units)} units are more than the {longest} that fit into the model's positions: cut the audio")
    return units
