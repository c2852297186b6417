"""Bytes that are nearly a file: streams whose header does not know its length, files cut short, PCM without a header."""

import re
import struct

from spire_ray.audio import mpeg

_RAW = re.compile(r"audio/(pcm|l16|x-raw)", re.IGNORECASE)
_DEFAULT_RATE = 24_000
"""Of raw PCM whose type does not say it, as OpenAI's."""
_OPEN_ENDED = 0xFFFFFF00
"""From here on the size in a WAV header stands for unknown."""


def mended(data: bytes, content_type: str = "") -> bytes:
    """A file that says how long it is. Raises ValueError for raw PCM of a form that is not understood."""
    if _RAW.match(content_type):
        return _wav(data, content_type)
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _sized(data)
    if data[:4] == b"OggS":
        return _whole_pages(data)
    return mpeg.unpromised(data) if mpeg.recognizes(data[:16]) else data


def _wav(data: bytes, content_type: str) -> bytes:
    """Raw 16-bit PCM with a header: of audio/l16 in network order, else with the low byte first."""
    given = dict(re.findall(r"(rate|channels)\s*=\s*(\d{1,7})", content_type.lower()))
    rate, channels = int(given.get("rate", _DEFAULT_RATE)), int(given.get("channels", 1))
    if not 1_000 <= rate <= 768_000 or not 1 <= channels <= 8:
        raise ValueError(f"{content_type}: rate must be 1000 to 768000 and channels 1 to 8")
    samples = data[: len(data) // (2 * channels) * 2 * channels]
    if content_type.lower().startswith("audio/l16"):
        swapped = bytearray(samples)
        swapped[0::2], swapped[1::2] = samples[1::2], samples[0::2]
        samples = bytes(swapped)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * channels * 2, channels * 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + len(samples)) + b"WAVE" + form + b"data" + struct.pack("<I", len(samples)) + samples


def _sized(data: bytes) -> bytes:
    """A WAV file whose data ends where the bytes end, if its header says more or nothing."""
    place = 12
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        there = len(data) - place - 8
        if name == b"data" and (size > there or size >= _OPEN_ENDED or (size == 0 and there)):
            header = data[:4] + struct.pack("<I", len(data) - 8) + data[8 : place + 4]
            return header + struct.pack("<I", there) + data[place + 8 :]
        if name == b"data" or size > there:
            return data
        place += 8 + size + size % 2
    return data


def _whole_pages(data: bytes) -> bytes:
    """An Ogg file without a last page that is not complete."""
    page = data.rfind(b"OggS")
    if page < 0 or len(data) < page + 27:
        return data[:page] or data
    lacing = data[page + 27 : page + 27 + data[page + 26]]
    complete = len(lacing) == data[page + 26] and page + 27 + len(lacing) + sum(lacing) <= len(data)
    return data if complete or page == 0 else data[:page]
