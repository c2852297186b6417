"""MPEG audio (MP3, MP2, MP1): its frames counted, where a file does not say how many it has or says it wrongly.

libsndfile believes a count that a header states, else one that it guesses from the size of the first frame, and reads no
further. What is handed to it here says the truth: frames alone, behind a header with their number. Sources: ISO 11172-3,
ISO 13818-3, and the Xing header as LAME writes it.
"""

import io
from collections.abc import Iterator
from typing import IO

from spire_ray.audio.source import AudioError

_BIT_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_SURE = 4
"""Frames in a row that are no accident of other bytes."""
_HEAD = 8192


def _frame(second: int, third: int) -> tuple[int, int] | None:
    """Bytes and samples of a frame, from the second and third byte of its header."""
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    if second < 0xE0 or version == 1 or layer == 4 or not 0 < third >> 4 < 15 or third >> 2 & 3 == 3:
        return None
    half = version != 3
    bits = 1000 * _BIT_RATES[2 if half else 1, 2 if half and layer == 3 else layer][(third >> 4) - 1]
    rate, padding = _RATES[version][third >> 2 & 3], third >> 1 & 1
    if layer == 1:
        return (12 * bits // rate + padding) * 4, 384
    samples = 576 if half and layer == 3 else 1152
    return samples // 8 * bits // rate + padding, samples


_FRAMES = {second << 8 | third: found for second in range(256) for third in range(256) if (found := _frame(second, third))}


def recognizes(head: bytes) -> bool:
    """Whether a file begins as MPEG audio does; ADTS, AAC's, has no layer."""
    return head[:3] == b"ID3" or (len(head) > 2 and head[0] == 0xFF and int.from_bytes(head[1:3], "big") in _FRAMES)


def in_wav(head: bytes) -> bool:
    """Whether a RIFF file holds MPEG audio: its format is 0x50 or 0x55."""
    place = head.find(b"fmt ") if head[:4] in (b"RIFF", b"RF64") else -1
    return place > 0 and head[place + 8 : place + 10] in (b"\x50\x00", b"\x55\x00")


def counted(file: IO[bytes]) -> tuple[IO[bytes], int | None]:
    """A file with a header that says how many frames there are, the same one where it does; and, of MP2, its samples.

    Raises AudioError for a file that says more frames than it has, and for one joined of several kinds.
    """
    file.seek(0)
    head = file.read(_HEAD)
    data = None
    if in_wav(head):
        file.seek(0)
        data = _data_chunk(file.read())
    elif _believed(file):
        return file, None
    if data is None:
        file.seek(0)
        data = file.read()
    audio, said = [], None
    for start, size in _frames(data):
        if (tag := _tag(data[start : start + size])) is None:
            audio.append(data[start : start + size])
        elif said is None:
            said = tag[0]
    if not audio:  # free format, or none: libsndfile knows
        return file, None
    if said and len(audio) < said - 1:
        raise AudioError(f"truncated: {len(audio)} of {said} frames")
    _, samples = _FRAMES[_kind(audio[0])]
    if _layer(audio[0]) != 3:  # which have no such header: with what follows, the guess of the length is no smaller
        audio.append(bytes(sum(map(len, audio)) // 50 + 65_536))
        return io.BytesIO(b"".join(audio)), (len(audio) - 1) * samples
    return io.BytesIO(_header(audio[0], len(audio)) + b"".join(audio)), None


def unpromised(data: bytes) -> bytes:
    """A file without the header that says how many frames it has, where fewer or more are there: it is what its frames are."""
    if _believed(io.BytesIO(data)):
        return data
    frames = (data[start : start + size] for start, size in _frames(data))
    return b"".join(frame for frame in frames if _tag(frame) is None) or data


def _kind(header: bytes) -> int:
    return int.from_bytes(header[1:3], "big")


def _layer(header: bytes) -> int:
    return 4 - (header[1] >> 1 & 3)


def _believed(file: IO[bytes]) -> bool:
    """Whether the first frame says how many bytes there are, and there are as many."""
    file.seek(0)
    place = _after_id3(file.read(10), 0)
    file.seek(place)
    head = file.read(_HEAD)
    size = file.seek(0, 2)
    found = _FRAMES.get(_kind(head)) if head[:1] == b"\xff" and len(head) > 2 else None
    tag = _tag(head[: found[0]]) if found else None
    if tag is None or not tag[0] or not tag[1]:
        return False
    file.seek(max(0, size - 128))
    end = size - (128 if file.read(3) == b"TAG" else 0)
    return abs(end - place - tag[1]) <= (found or (0,))[0]


def _tag(frame: bytes) -> tuple[int, int] | None:
    """Frames and bytes as a Xing, Info or VBRI header says, 0 for what it does not; None for a frame of audio."""
    for name in (b"Xing", b"Info"):
        if (place := frame.find(name, 4, 44)) > 0:
            flags, *numbers = (int.from_bytes(frame[at : at + 4], "big") for at in range(place + 4, place + 16, 4))
            frames = numbers.pop(0) if flags & 1 else 0
            return frames, numbers[0] if flags & 2 else 0
    if frame[36:40] == b"VBRI":
        return int.from_bytes(frame[50:54], "big"), int.from_bytes(frame[46:50], "big")
    return None


def _header(like: bytes, count: int) -> bytes:
    """A frame of silence with a Xing header; of another bit rate where the frames are too small for it."""
    second, third = like[1] | 1, like[2]
    if _FRAMES[second << 8 | third][0] < 64:
        third = 8 << 4 | third & 0x0F
    size, _ = _FRAMES[second << 8 | third]
    mono, half = like[3] >> 6 == 3, like[1] >> 3 & 3 != 3
    side = (9 if mono else 17) if half else (17 if mono else 32)
    tag = b"Xing" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
    return (bytes([0xFF, second, third, like[3]]) + bytes(side) + tag).ljust(size, b"\0")


def _frames(data: bytes) -> Iterator[tuple[int, int]]:
    """(start, size) of every frame. Raises AudioError for frames of another kind than the first ones."""
    place, kind = _after_id3(data, 0), None
    while 0 <= place < len(data) - 3:
        found = _FRAMES.get(data[place + 1] << 8 | data[place + 2]) if data[place] == 0xFF else None
        if found is None or (kind is not None and _of(data, place) != kind):
            place = _next(data, place, kind)
            if place >= 0 and kind is not None and _of(data, place) != kind:
                raise AudioError("joined of several kinds: rates, channels or layers of its parts differ")
            continue
        if place + found[0] > len(data):  # an unfinished frame
            return
        kind = kind or _of(data, place)
        yield place, found[0]
        place += found[0]


def _of(data: bytes, place: int) -> tuple[int, int, bool]:
    """Version and layer, rate, and whether it is one channel."""
    return data[place + 1] & 0xFE, data[place + 2] & 0x0C, data[place + 3] >> 6 == 3


def _next(data: bytes, place: int, kind: tuple[int, int, bool] | None) -> int:
    """Where frames begin again after other bytes: some in a row, or the last ones; -1 if nowhere."""
    place = _after_id3(data, place) if data[place : place + 3] == b"ID3" else place + 1
    while (place := data.find(b"\xff", place)) >= 0:
        at, row = place, 0
        while row < _SURE and at + 3 < len(data) and data[at] == 0xFF and _of(data, at) == _of(data, place):
            found = _FRAMES.get(data[at + 1] << 8 | data[at + 2])
            if found is None:
                break
            at, row = at + found[0], row + 1
        if row == _SURE or (row and at == len(data) and _of(data, place) == kind):
            return place
        place += 1
    return -1


def _after_id3(data: bytes, place: int) -> int:
    """The place behind an ID3v2 tag, if there is one."""
    head = data[place : place + 10]
    if head[:3] != b"ID3" or len(head) < 10:
        return place
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return place + 10 + size + (10 if head[5] & 0x10 else 0)


def _data_chunk(data: bytes) -> bytes:
    place = 12
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        if data[place : place + 4] == b"data":
            return data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    return b""
