"""M4A, AAC and WebM through the ffmpeg program, where it is installed."""

import shutil
import subprocess
import tempfile
from typing import IO

from spire_ray.audio.source import AudioError


def to_wav(file: IO[bytes], max_seconds: float) -> IO[bytes]:
    """The first sound track as a WAV file of float samples, in its own rate and channels, at most a little over `max_seconds`.

    Raises AudioError if there is no ffmpeg or it cannot read the file.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError("needs ffmpeg: M4A, AAC and WebM are read where the ffmpeg program is installed")
    limit = ["-t", f"{max_seconds + 1:.3f}"] if max_seconds < float("inf") else []
    wav = tempfile.TemporaryFile(suffix=".wav")  # noqa: SIM115 (it is returned)
    with tempfile.NamedTemporaryFile() as copy:  # the index of an MP4 may stand at its end, where a pipe cannot seek
        file.seek(0)
        shutil.copyfileobj(file, copy)
        copy.flush()
        command = [program, "-nostdin", "-v", "error", "-i", copy.name, "-map", "0:a:0", *limit]
        done = subprocess.run([*command, "-f", "wav", "-c:a", "pcm_f32le", "-"], stdout=wav, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines()
        raise AudioError(f"not readable as audio: ffmpeg: {told[-1] if told else 'no sound'}")
    wav.seek(0)
    return wav
