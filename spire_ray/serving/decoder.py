"""A process that decodes for the server, with little memory: what it reads comes from anyone.

In, on standard input: a line of JSON and the bytes of a file. Out: for each piece a line of JSON and its samples; at the end
a line that says so, with the reason where there is one.
"""

import json
import resource
import sys
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from spire_ray.audio import cut, decode
from spire_ray.inference.pieces import pieces
from spire_ray.inference.speech_gate import holds_speech
from spire_ray.serving.containers import mended

_MEMORY = 1 << 30
"""Bytes of data that decoding may take."""
_DENSEST = 192_000 * 8
"""Samples of all channels in a second."""
_USUAL = 48_000 * 2
"""The same, of what the longest recording may have on average."""
_SHORT = ("truncated", "false length")
"""Kinds of reasons for which a file is heard as far as it goes."""


def main() -> None:
    """Serve requests until standard input ends."""
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := requests.readline():
        asked = json.loads(line)
        _serve(requests.read(asked["bytes"]), asked, answers)


def _serve(data: bytes, asked: dict[str, Any], answers: IO[bytes]) -> None:
    end: dict[str, Any] = {"end": True}
    try:
        source = mended(data, asked["content_type"])
        _check(source, asked["most"])
        for start, samples in _as_far_as_it_goes(source, asked["longest"]):
            if start > asked["most"]:
                raise decode.AudioTooLong(f"longer than {asked['most']:g} s")
            head = {"start": start, "samples": len(samples), "type": samples.dtype.name, "speech": holds_speech(samples)}
            answers.write(json.dumps(head).encode() + b"\n" + samples.tobytes())
            answers.flush()
    except decode.AudioTooLong as error:
        end |= {"error": str(error), "code": "audio_too_long"}
    except MemoryError:
        end |= {"error": "takes too much memory to decode", "code": "audio_too_large"}
    except ValueError as error:
        end |= {"error": str(error), "code": "undecodable_audio"}
    answers.write(json.dumps(end).encode() + b"\n")
    answers.flush()


def _check(source: bytes, most: float) -> None:
    """Raise AudioTooLong for what its header says is more than may be decoded."""
    with decode.reader(source, whole=False) as sound:
        density = sound.samplerate * sound.channels
        if density > _DENSEST:
            raise decode.AudioTooLong(f"{sound.samplerate} Hz × {sound.channels} channels: more than {_DENSEST} samples a second")
        if decode.knows_length(sound):
            seconds = sound.frames / sound.samplerate
            if seconds > most or seconds * density > most * _USUAL:
                raise decode.AudioTooLong(
                    f"longer than {most:g} s" if seconds > most else f"{seconds:.0f} s of {density} samples"
                )


def _as_far_as_it_goes(source: bytes, longest: float) -> Iterator[tuple[float, np.ndarray]]:
    """Pieces up to where the file is cut short."""
    heard = False
    for cutter in (pieces, cut.pieces):
        try:
            for piece in cutter(source, longest):
                heard = True
                yield piece
            return
        except decode.AudioTooLong:
            raise
        except decode.AudioError as error:
            if heard:  # what comes after is missing
                return
            if not str(error).startswith(_SHORT) or cutter is cut.pieces:
                raise


if __name__ == "__main__":
    main()
