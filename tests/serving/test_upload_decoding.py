"""Audio of anyone: heard as far as it goes, or refused in time, by processes that take no one else along."""

import asyncio
import io
import struct
import time

import numpy as np
import pytest
import soundfile

from spire_ray.serving import decoding
from spire_ray.serving.containers import mended
from spire_ray.serving.decoding import Decoders
from spire_ray.serving.refusal import Refusal
from tests.serving.conftest import audio, speech

SPEECH = speech(3)
WAV = audio(SPEECH)
PCM = (SPEECH * 32_767).astype("<i2")


def clips(data, content_type="", longest=10.0, most=600.0):
    async def decoded():
        decoders = Decoders(longest, most)
        found = [clip async for clip in decoders.clips(data, content_type)]
        await decoders.close()
        return found

    return asyncio.run(decoded())


def resized(data, size):
    """A WAV file whose header says another size of its data."""
    place = data.index(b"data") + 4
    return data[:place] + struct.pack("<I", size) + data[place + 4 :]


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (WAV, ""),
        (resized(WAV, 0), ""),
        (resized(WAV, 0xFFFFFFFF), ""),
        (resized(WAV, len(PCM) * 2 + 640), ""),
        (WAV[:-640], ""),
        (PCM.tobytes(), "audio/pcm; rate=16000"),
        (PCM.astype(">i2").tobytes(), "audio/L16;rate=16000;channels=1"),
        (PCM.tobytes() + b"\0", "audio/pcm;rate=16000"),
        (np.repeat(PCM, 2).tobytes(), "audio/pcm;rate=16000;channels=2"),
        (audio(SPEECH, "FLAC"), ""),
        (audio(SPEECH, "OGG"), ""),
        (audio(SPEECH, "MP3"), ""),
    ],
)
def test_it_is_heard_as_far_as_it_goes(data, content_type):
    [clip] = clips(data, content_type)
    assert clip.speech and clip.start == 0
    assert 2.9 < len(clip.samples) / 16_000 < 3.2


@pytest.mark.parametrize("container", ["WAV", "FLAC", "MP3", "OGG"])
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_file_that_is_cut_short_never_fails(container, part):
    data = audio(speech(60), container)
    found = clips(data[: int(len(data) * part)], longest=10.0)
    assert found[-1].start + len(found[-1].samples) / 16_000 > 60 * part * 0.93


def test_two_mp3_joined_and_cut_are_heard_as_far_as_they_go():
    data = audio(speech(20), "MP3") * 2
    found = clips(data[: len(data) * 3 // 4], longest=10.0)
    assert found[-1].start + len(found[-1].samples) / 16_000 == pytest.approx(30, abs=1.5)


def test_pieces_are_those_of_the_offline_object():
    from spire_ray.inference.pieces import pieces

    data = audio(speech(35))
    for clip, (start, samples) in zip(clips(data), pieces(data, 10.0), strict=True):
        assert clip.start == start and clip.samples.dtype == samples.dtype and (clip.samples == samples).all()


def flac(rate, channels, seconds):
    file = io.BytesIO()
    soundfile.write(file, np.zeros((int(rate * seconds), channels), np.float32), rate, format="FLAC")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (flac(655_350, 8, 2), "more than 1536000 samples a second"),
        (flac(16_000, 1, 700), "longer than 600 s"),
        (flac(192_000, 8, 60), "60 s of 1536000 samples"),
    ],
)
def test_what_would_be_too_much_is_refused_before_it_is_decoded(data, words):
    began = time.monotonic()
    with pytest.raises(Refusal, match=words) as refused:
        clips(data, most=600.0 if "600" in words or "655" in words or "1536000 samples a" in words else 100.0)
    assert refused.value.status_code == 400 and refused.value.param == "file"
    assert time.monotonic() - began < 10


def test_a_recording_that_does_not_say_its_length_ends_where_it_may():
    with pytest.raises(Refusal, match="longer than 5 s"):
        clips(audio(speech(20), "MP3"), longest=3.0, most=5.0)


def test_a_decoder_that_hangs_or_dies_takes_no_other_along(monkeypatch):
    monkeypatch.setattr(decoding, "_PATIENCE", 3.0)

    async def story():
        decoders = Decoders(10.0, 600.0)
        new = decoders._new

        async def sleeper():
            return await asyncio.create_subprocess_exec(
                "sleep", "60", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True
            )

        async def dead():
            return await asyncio.create_subprocess_exec(
                "true", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True
            )

        for made, words in ((sleeper, "takes longer than 3 s"), (dead, "its decoder ended")):
            decoders._new = made
            with pytest.raises(Refusal, match=words) as refused:
                [clip async for clip in decoders.clips(WAV)]
            assert refused.value.status_code == 400
        decoders._new = new
        monkeypatch.setattr(decoding, "_PATIENCE", 30.0)
        assert [clip.speech async for clip in decoders.clips(WAV)] == [True]
        assert decoders._idle.qsize() == decoders._alive == 1
        await decoders.close()

    asyncio.run(story())


def test_a_burst_starts_no_process_for_each_clip():
    """One takes half a second of a core to start, and a clip of 3 s a few milliseconds to decode."""

    async def story():
        decoders, started = Decoders(10.0, 600.0), []
        new = decoders._new

        async def counted():
            started.append(1)
            return await new()

        decoders._new = counted

        async def one():
            return [clip.speech async for clip in decoders.clips(WAV)]

        assert await one() == [True]  # the first has started
        assert await asyncio.gather(*(one() for _ in range(40))) == [[True]] * 40
        assert len(started) <= 3
        await decoders.close()

    asyncio.run(story())


def test_memory_of_a_decoder_is_bounded():
    """A gigabyte is what it may take, whatever a file asks for."""
    import resource
    import subprocess
    import sys

    program = (
        "import resource, sys\n"
        "from spire_ray.serving import decoder\n"
        "sys.stdin.close(); sys.stdin = open('/dev/null')\n"
        "decoder.main()\n"
        "import numpy\n"
        "try: numpy.ones(1 << 28)\n"
        "except MemoryError: print('bounded')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "bounded", done.stderr
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] != 1 << 30  # of that process alone


@pytest.mark.parametrize("seed", range(4))
def test_mending_never_raises_but_for_raw_audio_of_no_form(seed):
    draw = np.random.default_rng(seed)
    for data in (WAV, audio(SPEECH, "OGG"), audio(SPEECH, "FLAC"), b"RIFF", b"OggS", b""):
        for _ in range(50):
            broken = bytearray(data[: draw.integers(0, min(len(data), 4000) + 1)])
            for place in draw.integers(0, len(broken) + 1, 3):
                broken[place : place + 1] = bytes([draw.integers(256)])
            mended(bytes(broken))
    with pytest.raises(ValueError, match="channels 1 to 8"):
        mended(b"", "audio/pcm; channels=99")
