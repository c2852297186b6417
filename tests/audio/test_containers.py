"""Every container and codec that libsndfile writes is heard to its end, cut, and never half without a word, as the page says."""

import io

import numpy as np
import soundfile

from spire_ray.audio import decode
from spire_ray.audio.decode import AudioError
from tests.conftest import ROOT

RATE = 8_000
SOUND = (np.sin(np.cumsum(np.linspace(0.05, 0.6, RATE * 8))) / 2).astype(np.float32)
UNSIZED = {"AVR", "IRCAM", "MAT4", "MAT5", "MPC2K", "PAF", "PVF", "SDS", "WVE"}
"""Whose headers tell no length that would be missed: half of one is half as long, unless the manifest says how long it is."""
UNHEARD = {"RAW": "says nothing of itself", "SD2": "keeps what it says in a file of its own", "XI": "an instrument, at 44.1 kHz"}
UNWRITTEN = {("MP3", "MPEG_LAYER_I"), ("MP3", "MPEG_LAYER_II"), ("WAV", "MPEG_LAYER_III"), ("AIFF", "DWVW_12")}
BLOCKS = {"IMA_ADPCM", "MS_ADPCM", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32", "G721_32", "G723_24", "G723_40"}
"""Filled up to a whole block at the end."""


def written():
    """Container and codec → a file of 8 s."""
    for container in sorted(set(soundfile.available_formats()) - set(UNHEARD)):
        for codec in sorted(soundfile.available_subtypes(container)):
            if (container, codec) not in UNWRITTEN and soundfile.check_format(container, codec):
                buffer = io.BytesIO()
                soundfile.write(buffer, SOUND, RATE, codec, format=container)
                yield container, codec, buffer.getvalue()


FILES = {(container, codec): data for container, codec, data in written()}


def test_each_is_heard_to_its_end_and_a_cut_is_a_slice_of_it():
    wrong = {}
    for (container, codec), data in FILES.items():
        whole = decode.load(data)
        found, part = len(whole) / decode.SAMPLE_RATE, decode.load(data, 2.0, 1.0)
        off = float(np.abs(part[400:-400] - whole[32_400:47_600]).max())
        if not -0.001 < found - 8 < (0.05 if codec in BLOCKS else 0.001) or off > 0.02:
            wrong[container, codec] = (found, off)
    assert len(FILES) > 90 and wrong == {}


def test_half_of_each_is_refused():
    heard = {}
    for (container, codec), data in FILES.items():
        try:
            heard[container, codec] = len(decode.load(data[: len(data) // 2])) / decode.SAMPLE_RATE
        except AudioError as error:
            assert str(error).startswith(("truncated", "not readable as audio", "no samples")), (container, codec, error)
    assert {container for container, _ in heard} == UNSIZED


def test_the_page_of_formats_lists_each_with_its_codecs():
    page = (ROOT / "docs" / "formats.md").read_text()
    for container in {container for container, _ in FILES}:
        codecs = ", ".join(codec for of, codec in FILES if of == container)
        result = "whole; half of one is half as long" if container in UNSIZED else "whole; half of one is refused"
        assert f"| {container} | {codecs} | {result} |" in page
