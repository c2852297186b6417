"""espeak-ng through ctypes: text → 16 kHz samples and phoneme times.

The library and its data come from the PyPI package espeakng-loader (GPL-3.0, an optional extra), which needs nothing
installed on the system. espeak-ng keeps global state: one `Espeak` at a time in each process.
"""

import _ctypes
import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soxr

from spire_ray.audio.pcm import from_pcm, to_pcm
from spire_ray.settings import SAMPLE_RATE

_SYNCHRONOUS, _PHONEME_EVENTS_IPA = 2, 0x0003
_UTF8, _END_PAUSE = 1, 0x1000
_RATE_PARAMETER, _PITCH_PARAMETER = 1, 3
_EVENT_END, _EVENT_PHONEME = 0, 7
_SEED = 1


class _Event(ctypes.Structure):
    """`espeak_EVENT` of speak_lib.h; `name` is the union's eight inline characters."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    ]


@dataclass(frozen=True)
class Speech:
    """One spoken text."""

    samples: np.ndarray
    """int16 [samples] at 16 kHz."""
    phonemes: list[tuple[str, float, float]]
    """IPA symbol, start and end in seconds; silence has the empty symbol."""


@cache
def voices() -> tuple[set[str], set[str]]:
    """The (languages, variants) that a voice name `language+variant` is made of, for the English accents."""
    data = _data_path()
    languages = {p.name for p in (data / "lang" / "gmw").glob("en*")}
    return languages, {p.name for p in (data / "voices" / "!v").iterdir()}


def check_voice(name: str) -> None:
    """Raise ValueError if `name` is no voice: espeak itself speaks an unknown variant with the plain voice."""
    languages, variants = voices()
    language, _, variant = name.partition("+")
    if language not in languages:
        raise ValueError(f"voice {name!r}: no language {language!r}; choose one of {', '.join(sorted(languages))}")
    if variant and variant not in variants:
        raise ValueError(f"voice {name!r}: no variant {variant!r}; choose one of {', '.join(sorted(variants))}")


class Espeak:
    """The synthesiser of this process. It always says one sequence of texts the same; what it said before is heard."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(_data_path()).encode()
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS_IPA)
        if self._rate <= 0:
            raise RuntimeError(f"espeak-ng could not be initialised from {data.decode()}")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))  # of breath and noise; by itself the time of day
        self._chunks: list[np.ndarray] = []
        self._marks: list[tuple[str, float]] = []
        signature = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = signature(self._receive)  # ctypes frees a callback that nobody holds
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_Event]") -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        index = 0
        while events and events[index].type != _EVENT_END:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                self._marks.append((event.name.decode("utf-8", "replace"), event.audio_position / 1000))
            index += 1
        return 0

    def speak(self, text: str, voice: str, words_per_minute: int = 175, pitch: int = 50) -> Speech:
        """Speak one text; `pitch` runs from 0 to 100. Raises ValueError for an unknown voice."""
        check_voice(voice)
        if self._library.espeak_SetVoiceByName(f"gmw/{voice}".encode()) != 0:
            raise ValueError(f"voice {voice!r}: refused by espeak-ng")
        self._library.espeak_SetParameter(_RATE_PARAMETER, words_per_minute, 0)
        self._library.espeak_SetParameter(_PITCH_PARAMETER, pitch, 0)
        self._chunks, self._marks = [], []
        data = text.encode() + b"\0"
        flags = _UTF8 | _END_PAUSE
        if self._library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, flags, None, None) != 0:
            raise RuntimeError(f"espeak-ng failed on {text!r}")
        self._library.espeak_Synchronize()
        if not self._chunks:
            raise RuntimeError(f"espeak-ng said nothing for {text!r}")
        # in float32: of int16, soxr draws the last bits of clips a little longer than 3 s anew each time
        samples = to_pcm(soxr.resample(from_pcm(np.concatenate(self._chunks)), self._rate, SAMPLE_RATE))
        ends = [start for _, start in self._marks[1:]] + [len(samples) / SAMPLE_RATE]
        return Speech(samples, [(name, start, end) for (name, start), end in zip(self._marks, ends, strict=True)])

    def close(self) -> None:
        """Unload the library, so that the next `Espeak` of this process starts where this one did."""
        self._library.espeak_Terminate()
        _ctypes.dlclose(self._library._handle)


def _data_path() -> Path:
    import espeakng_loader

    return Path(espeakng_loader.get_data_path())
