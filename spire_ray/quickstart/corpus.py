"""The talking corpus: sentences of the grammar, each spoken once, in splits whose voices and sentences do not overlap."""

import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import soundfile

from spire_ray.quickstart.espeak import Espeak, Speech, check_voice
from spire_ray.quickstart.grammar import Grammar, Sentence
from spire_ray.settings import SAMPLE_RATE, CorpusSettings

_CHUNK = 64
"""Clips that one process speaks in one go."""
_ACCENTS = ("en-US", "en-GB-x-rp")
_WOMEN = ("f1", "f2", "f4", "f5", "Alicia", "Annie", "anika", "aunty", "belinda", "linda", "steph", "steph3")
_MEN = ("m1", "m2", "m3", "m5", "m7", "m8", "Alex", "Andy", "Gene", "Lee", "Mario", "travis")
TRAIN_VOICES = tuple(f"{accent}+{variant}" for accent in _ACCENTS for variant in _WOMEN + _MEN)
DEV_VOICES = tuple(f"{accent}+{variant}" for accent in _ACCENTS for variant in ("m6", "Andrea"))
TEST_VOICES = tuple(f"{accent}+{variant}" for accent in _ACCENTS for variant in ("m4", "f3"))


@dataclass(frozen=True)
class Clip:
    """One utterance before it is spoken."""

    utt_id: str
    split: str
    sentence: Sentence
    voice: str
    words_per_minute: int
    pitch: int


def plan(settings: CorpusSettings) -> tuple[list[Clip], list[Sentence]]:
    """The clips of all splits, and the sentence pairs that are only read, never spoken."""
    voices = check_voices(settings)
    draw = random.Random(settings.seed)
    grammar = Grammar(settings.seed)
    sentences = grammar.unique_sentences()
    counts = settings.splits
    clips = []
    for split, count in (("test", counts.test), ("dev", counts.dev), ("train", counts.train)):
        for index in range(count):
            short = split == "train" and draw.random() < settings.phrase_share
            sentence = grammar.phrase() if short else next(sentences)
            voice = draw.choice(voices[split])
            clips.append(Clip(f"{split}-{index:06d}", split, sentence, voice, draw.randint(150, 200), draw.randint(30, 70)))
    return clips, list(islice(sentences, counts.text))


def check_voices(settings: CorpusSettings) -> dict[str, tuple[str, ...]]:
    """The voices of each split. Raises ValueError for an unknown one and for one that also speaks in training."""
    voices = {
        "train": settings.train_voices or TRAIN_VOICES,
        "dev": settings.dev_voices or DEV_VOICES,
        "test": settings.test_voices or TEST_VOICES,
    }
    for voice in {voice for chosen in voices.values() for voice in chosen}:
        check_voice(voice)
    for split in ("dev", "test"):
        if shared := set(voices[split]) & set(voices["train"]):
            raise ValueError(f"{split}_voices: {', '.join(sorted(shared))} also speak in training; held-out voices must not")
    return voices


def record(clips: list[Clip], folder: str, workers: int) -> Iterator[tuple[Clip, str, Speech]]:
    """Speak the clips in a process pool and write each as FLAC: (clip, path relative to the folder, speech), in order.

    Every chunk of clips has an espeak of its own, so that the samples do not depend on which process speaks it.
    """
    for clip in clips:
        (Path(folder) / "audio" / clip.split).mkdir(parents=True, exist_ok=True)
    chunks = [clips[start : start + _CHUNK] for start in range(0, len(clips), _CHUNK)]
    with ProcessPoolExecutor(workers) as pool:
        for recorded in pool.map(partial(_record_chunk, folder=folder), chunks):
            yield from recorded


def _record_chunk(clips: list[Clip], folder: str) -> list[tuple[Clip, str, Speech]]:
    espeak = Espeak()
    recorded = []
    for clip in clips:
        speech = espeak.speak(clip.sentence.text, clip.voice, clip.words_per_minute, clip.pitch)
        path = f"audio/{clip.split}/{clip.utt_id}.flac"
        soundfile.write(Path(folder) / path, speech.samples, SAMPLE_RATE, subtype="PCM_16")
        recorded.append((clip, path, speech))
    espeak.close()
    return recorded
