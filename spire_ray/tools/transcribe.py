"""Audio files → text with any model folder, without a cluster."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spire_ray.core import command

if TYPE_CHECKING:
    from spire_ray.inference.speech_to_text import SpeechToText

_AT_ONCE = 16
"""Clips in one batch."""


@command.cli_errors("transcribe")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool: one line `path<TAB>text` for each clip; returns the exit status.

    A clip that cannot be used is named on stderr with its reason and makes the status 2; the others are still printed.
    """
    parser = argparse.ArgumentParser("spire transcribe", description="Audio files to text with any model folder.")
    parser.add_argument("clips", nargs="+", metavar="CLIP", help="audio file: wav, flac, mp3 or ogg, of any length")
    parser.add_argument("--model", required=True, help="model folder, or Hugging Face id, id@revision to pin it")
    parser.add_argument("--codebook", default="", help="codebook folder (default: codebook/ in the model folder)")
    parser.add_argument("--language", default="en", help="spoken there: English name or ISO 639-1 code (default: en)")
    parser.add_argument("--to", default="", metavar="LANGUAGE", help="translate: English name or ISO 639-1 code")
    parser.add_argument("--max-new-tokens", type=int, default=256, metavar="N", help="of an answer at most (default: 256)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--accept", action="append", default=[], metavar="LICENSE", help="a non-commercial license, by name")
    options = parser.parse_args(arguments)
    return _transcribe(_load(options), options.clips, options.language, options.to)


def _load(options: argparse.Namespace) -> "SpeechToText":
    """The model, with what it prints on standard error: standard output is for texts alone."""
    from spire_ray.text.languages import language

    for name in filter(None, (options.language, options.to)):  # before anything is loaded
        language(name)
    import torch
    from transformers.utils import logging

    from spire_ray.inference.speech_to_text import SpeechToText

    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch finds no GPU here")
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    with contextlib.redirect_stdout(sys.stderr):
        try:
            return SpeechToText.from_pretrained(
                options.model,
                codebook=options.codebook,
                device=options.device,
                max_new_tokens=options.max_new_tokens,
                batch_size=_AT_ONCE,
                accept=options.accept,
            )
        except ValueError as error:
            raise ValueError(str(error).replace("license.accept=[", "--accept ").removesuffix("]")) from None


def _transcribe(model: "SpeechToText", clips: Sequence[str], language: str, to: str) -> int:
    """Print the text of every clip that can be used, in the language that is spoken or in that it is to be translated into."""
    model.write([], language, to or ())  # refuses a direction before any clip is heard
    refused = 0
    for start in range(0, len(clips), _AT_ONCE):
        heard = {}
        for clip in clips[start : start + _AT_ONCE]:
            try:
                heard[clip] = model.hear(clip)
            except ValueError as error:
                refused += 1
                print(f"transcribe: error: {clip}: {error}", file=sys.stderr)
        written = model.write(list(heard.values()), language, to or (), transcript=not to)
        for clip, found in zip(heard, written, strict=True):
            text = " ".join(found.translations.values()) if to else found.text
            print(f"{clip}\t{' '.join(text.split())}", flush=True)
    return command.USER_ERROR if refused else 0
