"""M4A, AAC and WebM through the ffmpeg program, where it is installed."""

import re
import shutil
import subprocess
import tempfile
from typing import IO

from spire_ray.audio.source import AudioError

_ADDRESS = re.compile(r"\[\w+(,\w+)* @ 0x[0-9a-f]+\] ")
_TRUNCATED = re.compile("partial file|ended prematurely|moov atom not found|corrupt input packet|exhausted before END")
_NO_SOUND = "matches no streams"


def to_wav(file: IO[bytes], begin: float, seconds: float) -> IO[bytes]:
    """The first sound track as a WAV file of float samples, in its own rate and channels.

    Of the track `seconds` from `begin` on, and a little more. Raises AudioError if there is no ffmpeg, or it meets an error.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError("needs ffmpeg: M4A, AAC and WebM are read where the ffmpeg program is installed")
    limit = ["-t", f"{seconds + 1:.3f}"] if seconds < float("inf") else []
    wav = tempfile.TemporaryFile(suffix=".wav")  # noqa: SIM115 (it is returned)
    with tempfile.NamedTemporaryFile() as copy:  # the index of an MP4 may stand at its end, where a pipe cannot seek
        file.seek(0)
        shutil.copyfileobj(file, copy)
        copy.flush()
        command = [program, "-nostdin", "-v", "error", "-xerror", "-ss", f"{begin:.6f}", "-i", copy.name, "-map", "0:a:0", *limit]
        done = subprocess.run([*command, "-f", "wav", "-c:a", "pcm_f32le", "-"], stdout=wav, stderr=subprocess.PIPE, check=False)
        told = _ADDRESS.sub("", done.stderr.decode(errors="replace")).replace(f"{copy.name}: ", "")
    if done.returncode or _TRUNCATED.search(told):
        raise AudioError(_reason(told))
    wav.seek(0)
    return wav


def _reason(told: str) -> str:
    """Without what differs from run to run: a reason is part of a row."""
    if _NO_SOUND in told:
        return "not readable as audio: no sound track"
    if _TRUNCATED.search(told):
        return "truncated: ffmpeg finds no end"
    lines = told.strip().splitlines()
    return f"not readable as audio: ffmpeg: {lines[0] if lines else 'no sound'}"
