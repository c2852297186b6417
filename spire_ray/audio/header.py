"""What the bytes around the samples say: why a file cannot be opened, and lengths that its size belies.

libsndfile reads what it finds and does not complain about a file that was cut off or a header that lies; here such files are
recognised from their own structure. Sources: RIFF WAVE, EBU Tech 3306 (RF64), Sony's Wave64, Apple's AIFF 1.3, NIST's SPHERE,
RFC 9639 (FLAC), RFC 3533 (Ogg).
"""

import re
from typing import IO, Literal

from spire_ray.audio.ogg import LARGEST_PAGE, PAGE
from spire_ray.audio.source import AudioError

_WAV_DATA = re.compile(r"^data : (\d+)(?: \(should be (\d+)\))?$", re.MULTILINE)
"""How libsndfile notes the data chunk of a WAV file, and with it that fewer bytes are there."""
_UNKNOWN_SIZE = 0x7FFF0000
"""From here on the size in a WAV header stands for unknown: the file was written into a pipe."""
_WAVE64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_SPHERE = re.compile(rb"^(sample_count|channel_count|sample_n_bytes) -(?:i|s\d+) (\d+)", re.MULTILINE)
_HEAD = 4096
_PADDING = 64
"""Bytes that a header may count and a file lack: chunks are filled up."""
_Order = Literal["big", "little"]


def why_not(file: IO[bytes]) -> str:
    """The reason why libsndfile cannot open this file."""
    file.seek(0)
    head = file.read(_HEAD)
    if head[:4] in (b"RIFF", b"RF64") and (place := head.find(b"fmt ")) > 0:
        channels, rate = head[place + 10 : place + 12], head[place + 12 : place + 16]
        if not any(rate):
            return "sample rate 0"
        if not any(channels):
            return "no channels"
    if head[:4] == b"fLaC" and not int.from_bytes(head[18:21], "big") >> 4:
        return "sample rate 0"
    if not any(head):
        return "not readable as audio: zeros only"
    if all(byte >= 32 or byte in b"\t\n\r" for byte in head):
        return "not readable as audio: a text file"
    return "not readable as audio: an unknown or damaged format"


def check_length(file: IO[bytes], extra_info: str, frames: int, frame_bytes: int) -> None:
    """Raise AudioError for a file that ends early or holds far more than its header says.

    `extra_info` is libsndfile's account of the header, `frame_bytes` the size of one uncompressed sample of all channels.
    Leaves the file at another place.
    """
    file.seek(0)
    head = file.read(_HEAD)
    magic = head[:4]
    size = file.seek(0, 2)
    if (promised := _promised(head)) and size < promised - _PADDING:
        raise AudioError(f"truncated: {size} of {promised} bytes")
    if magic in (b"RIFF", b"RF64") and (data := _WAV_DATA.search(extra_info)):
        promised = int(data[1])
        if data[2] and promised < _UNKNOWN_SIZE:
            raise AudioError(f"truncated: {data[2]} of {promised} bytes")
        if "Unknown chunk marker" in extra_info and size > 2 * promised + _HEAD:
            raise AudioError(f"false length: the header says {promised} of {size} bytes")
    elif magic == b"fLaC":
        audio = size - _flac_start(file)
        if audio > frames * frame_bytes + _HEAD + frames // 8:  # verbatim samples and the headers of small frames
            raise AudioError(f"false length: the header says {frames} samples, {audio} bytes hold more")
    elif "Seems to be a truncated file" in extra_info:  # libsndfile's note of a VOC file
        raise AudioError(f"truncated: {size} bytes, its header says more")
    elif magic == PAGE and not _ogg_complete(file, size):
        raise AudioError("truncated: the last page is not complete")


def _promised(head: bytes) -> int:
    """Bytes of the whole file as the header of an AIFF, AU, Wave64, RF64 or SPHERE file says; 0 where it does not."""
    magic = head[:4]
    if magic == b"FORM":
        return 8 + _number(head[4:8], "big")
    if magic in (b".snd", b"dns."):
        order: _Order = "big" if magic == b".snd" else "little"
        return _number(head[4:8], order) + size if (size := _number(head[8:12], order)) else 0
    if head[:16] == _WAVE64:
        return _number(head[16:24], "little")
    if magic == b"RF64" and head[12:16] == b"ds64":
        return 8 + size if (size := _number(head[20:28], "little")) else 0
    if magic == b"NIST":
        told = {name.decode(): int(value) for name, value in _SPHERE.findall(head)}
        start = int(head[8:16])
        return start + told.get("sample_count", 0) * told.get("channel_count", 1) * told.get("sample_n_bytes", 0)
    return 0


def _number(field: bytes, order: _Order) -> int:
    """A size; 0 where it stands for unknown, as in a file that was written into a pipe."""
    size = int.from_bytes(field, order)
    return size if size < _UNKNOWN_SIZE or (len(field) == 8 and size < _UNKNOWN_SIZE << 32) else 0


def _flac_start(file: IO[bytes]) -> int:
    """Where the frames begin, behind the metadata blocks."""
    place, last = 4, False
    while not last:
        file.seek(place)
        header = file.read(4)
        if len(header) < 4:
            break
        last = bool(header[0] & 0x80)
        place += 4 + int.from_bytes(header[1:], "big")
    return place


def _ogg_complete(file: IO[bytes], size: int) -> bool:
    start = max(0, size - LARGEST_PAGE)
    file.seek(start)
    tail = file.read()
    page = tail.rfind(PAGE)
    segments = tail[page + 26] if 0 <= page < len(tail) - 26 else 256
    lacing = tail[page + 27 : page + 27 + segments]
    return page >= 0 and len(lacing) == segments and page + 27 + segments + sum(lacing) <= len(tail)
