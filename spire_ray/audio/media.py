"""What libsndfile does not read, by PyAV: M4A and MP4, MOV, WebM and Matroska, WMA, AMR, AC-3, AAC, TS, FLV, WavPack, Ogg FLAC.

PyAV is the extra `media`: its wheel bundles codecs under the GPL.
"""

import tempfile
from collections.abc import Callable
from fractions import Fraction
from typing import IO, Any

import numpy as np
import soundfile

from spire_ray.audio.source import AudioError

NEEDED = "needs the extra media: pip install 'spire-ray[media]' brings PyAV, which reads"
_KINDS: dict[str, Callable[[bytes], bool]] = {
    "M4A or MP4": lambda head: head[4:8] in (b"ftyp", b"moov", b"wide", b"mdat", b"skip"),
    "WebM or Matroska": lambda head: head[:4] == b"\x1a\x45\xdf\xa3",
    "WMA": lambda head: head[:8] == b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "AMR": lambda head: head[:5] == b"#!AMR",
    "AC-3": lambda head: head[:2] in (b"\x0b\x77", b"\x77\x0b"),
    "AAC": lambda head: head[:1] == b"\xff" and head[1:2] in (b"\xf0", b"\xf1", b"\xf8", b"\xf9"),
    "MPEG-TS": lambda head: head[:1] == b"G" and head[188:189] == b"G" and head[376:377] in (b"G", b""),
    "FLV": lambda head: head[:3] == b"FLV",
    "WavPack": lambda head: head[:4] == b"wvpk",
    "Ogg FLAC": lambda head: head[:4] == b"OggS" and head[28:33] == b"\x7fFLAC",
    "Speex": lambda head: head[:4] == b"OggS" and head[28:33] == b"Speex",
}
_LEAD_SECONDS = 1.0
"""A coded frame that is entered in the middle needs those before it."""
_SHORT_SECONDS = 0.25
"""By which a container may promise more than it holds."""
_TELLS_LENGTH = ("mov", "ogg", "wv")


_SNDFILE = "wav flac mp3 mp2 ogg opus oga aiff aif aifc au snd sph nist w64 caf rf64 voc 8svx svx ircam sf paf pvf avr wve sds"
_AV = "m4a m4b mp4 aac webm mka mkv mov wma asf amr awb 3gp ac3 eac3 ts flv wv spx"
ENDINGS = frozenset(f"{_SNDFILE} {_AV}".split())
"""Of the names of audio files, without the dot."""


def is_audio(ending: str) -> bool:
    """Whether a file of this ending is one of audio."""
    return ending.lower() in ENDINGS


def kind(head: bytes) -> str:
    """The name of a format that PyAV reads and libsndfile does not, by the first bytes; else empty."""
    return next((name for name, fits in _KINDS.items() if fits(head)), "")


def to_wav(file: IO[bytes], begin: float, seconds: float) -> tuple[IO[bytes], float]:
    """The first sound track as a file of float samples, in its own rate and channels, and the second that this begins at.

    Of the track `seconds` from `begin` on, and some before it. Raises AudioError where PyAV is not installed or the file is
    damaged.
    """
    file.seek(0)
    name = kind(file.read(512))
    try:
        import av
    except ImportError:
        raise AudioError(f"{NEEDED} {name}") from None
    file.seek(0)
    wav = tempfile.TemporaryFile(suffix=".w64")  # noqa: SIM115 (it is returned)
    try:
        with av.open(file) as container:
            if not container.streams.audio:
                raise AudioError("not readable as audio: no sound track")
            began = _decode(container, container.streams.audio[0], wav, begin, seconds)
    except (av.error.FFmpegError, soundfile.LibsndfileError) as error:
        raise AudioError(f"truncated or damaged: {name}: {getattr(error, 'strerror', None) or error}") from None
    wav.seek(0)
    return wav, began


def _decode(container: Any, track: Any, wav: IO[bytes], begin: float, seconds: float) -> float:
    from av import AudioResampler

    origin = float((track.start_time or 0) * track.time_base)
    resampler = AudioResampler(format="flt")
    if sought := begin > _LEAD_SECONDS:
        container.seek(int((begin - _LEAD_SECONDS + origin) / track.time_base), stream=track)
    sound, began, end = None, 0.0, 0.0
    try:
        for frame in container.decode(track):
            at = float(frame.pts * frame.time_base) - origin if frame.pts is not None else end
            if sound is None:
                began = max(0.0, at) if sought else 0.0
                channels = frame.layout.nb_channels
                sound = soundfile.SoundFile(wav, "w", frame.sample_rate, channels, format="W64", subtype="FLOAT")
            for packed in resampler.resample(frame):
                sound.write(packed.to_ndarray().reshape(-1, sound.channels).astype(np.float32))
            end = at + frame.samples / frame.sample_rate
            if end > begin + seconds + _LEAD_SECONDS:
                return began
    finally:
        if sound is not None:
            sound.close()
    if sound is None:
        raise AudioError("truncated: no end is found")
    told = track.duration and container.format.name.startswith(_TELLS_LENGTH)  # in others it is a guess, or of the pictures
    promised = float(track.duration * Fraction(track.time_base)) if told else 0.0
    if end < promised - _SHORT_SECONDS:
        raise AudioError(f"truncated: {end:.2f} of {promised:.2f} s")
    return began
