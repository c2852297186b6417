"""The splits of the talking corpus: what is tested was never heard in training."""

from collections import Counter

import pytest
import soundfile

from spire_ray.quickstart import corpus
from spire_ray.quickstart.corpus import plan, record
from spire_ray.settings import CorpusSettings, SplitSettings

SETTINGS = CorpusSettings(output="", splits=SplitSettings(train=1_500, dev=60, test=120, text=800))


@pytest.fixture(scope="module")
def planned():
    return plan(SETTINGS)


def of(clips, split, part):
    return {part(clip) for clip in clips if clip.split == split}


def test_every_split_has_as_many_clips_as_asked_for_and_each_its_own_id(planned):
    clips, text = planned
    assert Counter(clip.split for clip in clips) == {"train": 1_500, "dev": 60, "test": 120}
    assert len({clip.utt_id for clip in clips}) == len(clips)
    assert len(text) == 800


@pytest.mark.parametrize("held_out", ["dev", "test"])
def test_held_out_voices_never_speak_in_training(planned, held_out):
    voices = of(planned[0], held_out, lambda clip: clip.voice)
    assert voices
    assert not voices & of(planned[0], "train", lambda clip: clip.voice)


def test_no_sentence_stands_in_two_splits(planned):
    clips, text = planned
    said = [of(clips, split, lambda clip: clip.sentence.text) for split in ("train", "dev", "test")]
    said.append({sentence.text for sentence in text})
    assert sum(map(len, said)) == len(set().union(*said))


def test_short_phrases_are_in_training_only(planned):
    clips, _ = planned
    short = Counter(clip.split for clip in clips if len(clip.sentence.text.split()) < 4 and not any_verb(clip.sentence.text))
    assert set(short) == {"train"}
    assert 0.2 < short["train"] / 1_500 < 0.4


def any_verb(text):
    from spire_ray.quickstart.lexicon import INTRANSITIVE, TRANSITIVE

    return bool({"is", *(entry.en for entry in (*TRANSITIVE, *INTRANSITIVE))} & set(text.split()))


def test_the_seed_decides_the_plan(planned):
    assert plan(SETTINGS) == planned
    assert plan(CorpusSettings(output="", splits=SETTINGS.splits, seed=1)) != planned


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_held_out_voice_that_also_speaks_in_training_is_refused(split):
    settings = CorpusSettings(output="", **{f"{split}_voices": ("en-US+m4", "en-US+m1")})
    with pytest.raises(ValueError, match=rf"{split}_voices: en-US\+m1 also speak in training"):
        plan(settings)


def test_an_unknown_voice_is_refused_before_anything_is_spoken():
    with pytest.raises(ValueError, match="no variant 'm99'"):
        plan(CorpusSettings(output="", train_voices=("en-US+m99",)))


def test_the_samples_do_not_depend_on_the_number_of_workers(planned, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "_CHUNK", 3)
    clips, heard = planned[0][:9], {}
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        recorded = list(record(clips, str(folder), workers))
        assert [clip for clip, *_ in recorded] == clips
        heard[workers] = [(folder / path).read_bytes() for _, path, _ in recorded]
    assert heard[1] == heard[2]


def test_clips_are_recorded_in_order_as_flac(planned, tmp_path):
    clips = planned[0][:3]
    for clip, (recorded, path, speech) in zip(clips, record(clips, str(tmp_path), workers=1), strict=True):
        assert recorded == clip
        assert path == f"audio/{clip.split}/{clip.utt_id}.flac"
        samples, rate = soundfile.read(tmp_path / path, dtype="int16")
        assert rate == 16_000
        assert (samples == speech.samples).all()
