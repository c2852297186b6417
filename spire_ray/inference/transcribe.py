"""Audio → text in this process: `spire transcribe CLIP… --model M`, without Ray and without a cluster.

The functions below are what the server needs as well, so that both give the same text: the model folder, its codebook,
how much speech fits and how it is asked about. Everything heavy is imported when it is needed.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spire_ray.core import command

if TYPE_CHECKING:
    import numpy as np

    from spire_ray.inference.generate import HuggingFaceGenerator
    from spire_ray.text.record import Record
    from spire_ray.units.codebook import Codebook
    from spire_ray.units.labeler import Labeler

_AT_ONCE = 16
"""Clips in one batch."""
_MODEL_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "README.md"]
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
    parser.add_argument("--language", default="en", help="spoken there: English name or ISO 639-1 code (default: en)")
    parser.add_argument("--to", default="", metavar="LANGUAGE", help="translate: English name or ISO 639-1 code")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--accept", action="append", default=[], metavar="LICENSE", help="a non-commercial license, by name")
    options = parser.parse_args(arguments)
    folder = model_folder(options.model)
    _check_license(options.model, folder, tuple(options.accept))
    return _transcribe(options.clips, folder, options.codebook, (options.language, options.to), options.device)


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
    from spire_ray.text.record import RECORD_FILE, UnitVocabulary
    from spire_ray.units.codebook import Codebook

    vocabulary = UnitVocabulary.load(model)
    if vocabulary is None:
        raise ValueError(
            f"model={model}: no units in a {RECORD_FILE} there, so it has no unit tokens; extend it with the stage extend_model, "
            "or, if its vocabulary has units already as SpireFull's does, say which codebook made them with `spire units adopt`"
        )
    folder = folder or storage.join(model, "codebook")
    codebook = Codebook.load(folder)
    vocabulary.fingerprint.require(codebook.fingerprint, f"model={model}", f"codebook={folder}")
    return codebook


def check_direction(record: "Record", language: str = "en", to: str = "") -> None:
    """Raise ValueError for a language that a trained model was never taught to write down or to translate into."""
    if not record.directions:  # of a model that this platform did not train nothing is known
        return
    task = "st" if to else "asr"
    known = record.targets(task, language)
    if (to or language) not in known:
        field = f"to={to}" if to else f"language={language}"
        did = f"translate speech in {language} into" if to else "transcribe"
        told = ", ".join(sorted(known if to else {d.removeprefix("asr.") for d in record.directions if d.startswith("asr.")}))
        raise ValueError(f"{field}: the model was not trained to {did} it" + (f"; it was for {told}" if told else ""))


def room(generator: "HuggingFaceGenerator") -> int:
    """Units that fit into the model's positions beside the question in any language and an answer.

    Raises ValueError if none does.
    """
    import numpy as np

    from spire_ray.inference.tasks import spoken
    from spire_ray.text.languages import registry

    tokenizer = generator.tokenizer
    questions = [spoken(tokenizer, np.zeros(0, np.uint16), code) for code in registry()]
    longest = max(len(ids) for ids, _ in tokenizer.encode(questions))
    units = generator.longest_prompt - 1 - longest  # BOS
    if units < 1:
        raise ValueError(f"max_new_tokens: answers so long leave no room for audio in the model's positions ({units} units)")
    return units


def _check_license(model: str, folder: str, accepted: tuple[str, ...]) -> None:
    """Raises ValueError for a license that is not accepted. Standard output is for texts alone."""
    from spire_ray.model import license

    with contextlib.redirect_stdout(sys.stderr):
        try:
            license.check(model, accepted, folder)
        except ValueError as error:
            raise ValueError(str(error).replace("license.accept=[", "--accept ").removesuffix("]")) from None


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


def _transcribe(clips: Sequence[str], folder: str, codebook: str, languages: tuple[str, str], device: str) -> int:
    """Print the text of every clip that can be used, in the language that is spoken or in that it is to be translated into."""
    from spire_ray.text.languages import language

    source, to = (language(name).code if name else "" for name in languages)
    fitting = codebook_of(folder, codebook)

    import torch
    from transformers.utils import logging

    from spire_ray.inference.generate import HuggingFaceGenerator
    from spire_ray.inference.tasks import spoken
    from spire_ray.settings import ServeSettings
    from spire_ray.units.labeler import Labeler

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch finds no GPU here")
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    labeler = Labeler(fitting, device)
    generator = HuggingFaceGenerator(folder, device=device, max_new_tokens=ServeSettings.max_new_tokens, batch_size=_AT_ONCE)
    longest = room(generator)
    said = generator.tokenizer.record
    check_direction(said, source, to)
    refused = 0
    for start in range(0, len(clips), _AT_ONCE):
        heard: list[tuple[str, np.ndarray]] = []
        for clip in clips[start : start + _AT_ONCE]:
            try:
                units = _hear(clip, labeler, longest)
                if said.longest_units and len(units) > said.longest_units:
                    print(f"transcribe: {clip}: {_beyond(said, len(units))}", file=sys.stderr)
                heard.append((clip, units))
            except ValueError as error:
                refused += 1
                print(f"transcribe: error: {clip}: {error}", file=sys.stderr)
        texts = generator([spoken(generator.tokenizer, units, source, to) for _, units in heard])
        for (clip, _), text in zip(heard, texts, strict=True):
            print(f"{clip}\t{' '.join(text.split())}", flush=True)
    return command.USER_ERROR if refused else 0


def _beyond(record: "Record", units: int) -> str:
    trained = f"the {record.longest_units} ({record.longest_seconds:.1f} s) of the longest speech that the model was trained on"
    return f"{units} units are more than {trained}; cut the audio if the text is poor"


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
