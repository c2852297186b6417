"""The fingerprint: units that mean the same may meet, all others are refused with the reason."""

import dataclasses
import json

import pytest

from spire_ray.units.fingerprint import Fingerprint, Identity, content_hash

MINE = Identity(
    encoder="e", weights="w", layer=22, norm="none", waveform="utterance", frame_rate=50, codebook="c", clusters=5000,
    recordings="whole",
    level="scaled by its peak",
)  # fmt: skip
OTHER = {
    "encoder": "f",
    "weights": "v",
    "layer": 9,
    "norm": "final_layer_norm",
    "waveform": "none",
    "frame_rate": 25,
    "codebook": "d",
    "clusters": 2000,
    "channels": "first",
    "pooling": "mean2",
    "cutting": "30s",
    "deduplicated": False,
    "recordings": "cut 30s",
    "level": "clipped",
}


def test_every_part_of_the_identity_is_tried_below():
    assert {field.name for field in dataclasses.fields(Identity)} == set(OTHER)


@pytest.mark.parametrize("field", OTHER)
def test_a_difference_is_named_with_both_values(field):
    other = Fingerprint(identity=dataclasses.replace(MINE, **{field: OTHER[field]}))
    with pytest.raises(ValueError, match="the units of the pack and of the model do not mean the same") as error:
        Fingerprint(identity=MINE).require(other, "the pack", "the model")
    assert str(error.value).endswith(f": {field} {getattr(MINE, field)!r} against {OTHER[field]!r}")


def test_all_differences_are_named_at_once():
    with pytest.raises(ValueError) as error:
        Fingerprint(identity=MINE).require(Fingerprint(identity=Identity(**OTHER)), "a", "b")
    assert all(f"{field} " in str(error.value) for field in OTHER)


def test_a_codebook_that_says_nothing_of_recordings_goes_with_any():
    said = [Fingerprint(identity=dataclasses.replace(MINE, recordings=how)) for how in ("", "whole", "cut 30s")]
    for one in said[1:]:
        assert said[0].require(one, "the model", "the units") is None
        assert one.require(said[0], "the units", "the model") is None
    with pytest.raises(ValueError, match="recordings 'whole' against 'cut 30s'"):
        said[1].require(said[2], "the model", "the units")


def test_numerics_may_differ():
    mine, other = (Fingerprint(identity=MINE, numerics={"dtype": dtype}) for dtype in ("float32", "unknown"))
    assert mine != other
    mine.require(other, "a", "b")


def test_it_survives_json():
    whole = Fingerprint(identity=MINE, numerics={"dtype": "bfloat16"})
    assert Fingerprint.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole


def test_the_hash_depends_on_content_and_order():
    assert content_hash([b"a", b"b"]) == content_hash(iter([b"a", b"b"])) != content_hash([b"b", b"a"])
