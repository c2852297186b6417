"""A toy model that travels with the package hears a clip: its units, its text in two languages, then the service's page."""

import argparse
import contextlib
import sys
import webbrowser
from collections.abc import Sequence
from typing import Any

import numpy as np

from spire_ray.core import command, config
from spire_ray.settings import ServeSettings

_ABOUT = "A toy: 1.5 million weights and 105 words of one synthesiser, made by `make quickstart`. It has never heard a person."
_SHOWN = 16
"""Units that are printed."""
_COLOUR, _PLAIN = "\x1b[48;5;{}m", "\x1b[0m"


@command.cli_errors("demo")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    parser = argparse.ArgumentParser("spire demo", description="A bundled toy model hears a bundled clip, or yours.")
    parser.add_argument("clip", nargs="?", default="", metavar="CLIP", help="an audio file instead of the bundled clips")
    parser.add_argument("--no-page", action="store_true", help="end after the text, without the page")
    parser.add_argument("--port", type=int, default=8000, help="of the page, on this machine alone (default 8000)")
    options = parser.parse_args(arguments)
    from spire_ray.quickstart.bundle import FOLDER, clips
    from spire_ray.serving import alone
    from spire_ray.serving.address import require_free_port

    asked = {"stage": "serve", "model": str(FOLDER / "model"), "output": "", "port": options.port}
    settings = config.validate({**asked, "max_new_tokens": 48, "max_batch_size": 4}, "serve", "demo")
    assert isinstance(settings, ServeSettings)
    if not options.no_page:
        require_free_port(settings)
    given = [{"path": options.clip}] if options.clip else clips()
    _hear(settings, given)
    print(f"\n{_ABOUT}", flush=True)
    if not options.no_page:
        with contextlib.suppress(webbrowser.Error):
            alone.serve(settings, given[0]["path"], webbrowser.open)
    return 0


def _hear(settings: ServeSettings, clips: Sequence[dict[str, Any]]) -> None:
    """Print what is heard in each clip, beside what was said where that is known."""
    from transformers.utils import logging

    from spire_ray.inference.speech_to_text import SpeechToText

    logging.disable_progress_bar()
    model = SpeechToText.from_pretrained(settings.model, max_new_tokens=settings.max_new_tokens)
    for clip in clips:
        try:
            pieces = model.hear(clip["path"])
        except ValueError as error:
            raise ValueError(f"{clip['path']}: {error}") from None
        [found] = model.write([pieces], "en", "de")
        units = np.concatenate([piece.units for piece in pieces])
        print(f"\n{clip['path']}  {found.seconds:.1f} s")
        if sys.stdout.isatty():
            print(f"{'':>12}{''.join(f'{_COLOUR.format(16 + unit % 216)} ' for unit in units)}{_PLAIN}")
        for name, text, said in (
            ("units", f"{len(units)}: {' '.join(map(str, units[:_SHOWN]))} …", ""),
            ("English", found.text, clip.get("text", "")),
            ("German", found.translations["de"], clip.get("translations", {}).get("de", "")),
        ):
            print(f"  {name:>8}  {text}" + (f"    ({'right' if text == said else f'said: {said}'})" if said else ""), flush=True)
