"""Units and their text: nothing is lost on the way there and back."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_ray.units import codec

LONGEST = 65_535
PRIVATE = 0xFFFFE - 0xF0000
runs = st.lists(st.tuples(st.integers(0, 65_535), st.integers(1, 30)), max_size=50)
long_runs = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1, LONGEST - 1, LONGEST, LONGEST + 1, 2 * LONGEST, 200_000])))


def labels_of(runs):
    return np.repeat([unit for unit, _ in runs], [length for _, length in runs]).astype(np.int64)


@given(st.one_of(runs, long_runs))
def test_frame_labels_come_back_from_units_and_durations(runs):
    labels = labels_of(runs)
    units, durations = codec.deduplicate(labels)
    assert units.dtype == durations.dtype == np.uint16
    assert np.array_equal(codec.expand(units, durations), labels)


@given(runs)
def test_no_two_neighbouring_units_are_equal(runs):
    units, durations = codec.deduplicate(labels_of(runs))
    assert (units[1:] != units[:-1]).all()
    assert (durations > 0).all()


@pytest.mark.parametrize(("frames", "pieces"), [(65_535, [65_535]), (65_536, [65_535, 1]), (131_071, [65_535, 65_535, 1])])
def test_a_run_too_long_for_16_bits_becomes_several_units(frames, pieces):
    units, durations = codec.deduplicate(np.full(frames, 7))
    assert units.tolist() == [7] * len(pieces)
    assert durations.tolist() == pieces


@given(st.lists(st.integers(0, PRIVATE - 1)))
def test_units_come_back_from_private_use_text(units):
    text = codec.encode(np.array(units, np.uint16))
    assert len(text) == len(units)
    assert codec.decode(text).tolist() == units


@given(st.lists(st.integers(0, 65_535)))
def test_units_come_back_from_extra_id_text(units):
    assert codec.decode(codec.encode(np.array(units, np.uint16), "extra_id"), "extra_id").tolist() == units


def test_unit_i_is_written_as_the_private_use_character_f0000_plus_i():
    assert codec.encode([0, 1, 4999], style="pua") == "\U000f0000\U000f0001\U000f1387"
    assert {unicodedata.category(codec.token(i)) for i in (0, 4999, PRIVATE - 1)} == {"Co"}


def test_extra_ids_are_written_without_separator_as_in_the_paper():
    assert codec.encode([0, 1, 4999], style="extra_id") == "<extra_id_0><extra_id_1><extra_id_4999>"


@pytest.mark.parametrize("unit", [PRIVATE, 65_535])
def test_a_unit_without_a_private_use_character_is_refused_and_sent_to_extra_id(unit):
    with pytest.raises(ValueError, match=f"unit {unit} has no private-use character; use the surface form extra_id"):
        codec.token(unit)


@pytest.mark.parametrize(("unit", "style"), [(-1, "pua"), (-1, "extra_id"), (65_536, "pua"), (65_536, "extra_id"), (0, "PUA")])
def test_what_is_no_unit_or_no_style_is_refused(unit, style):
    told = f"unit {unit}: units are 0 to 65535" if style != "PUA" else "style=PUA: must be one of pua, extra_id"
    with pytest.raises(ValueError, match=told):
        codec.encode([unit], style=style)


def test_what_is_no_unit_at_all_is_refused():
    with pytest.raises(ValueError, match="style=PUA: must be one of pua, extra_id"):
        codec.decode("", style="PUA")
    with pytest.raises(ValueError, match=r"units float64 \[1\]: must be one row of whole numbers"):
        codec.encode([1.7])
    with pytest.raises(ValueError, match=r"units int64 \[1, 2\]: must be one row"):
        codec.encode(np.array([[1, 2]]))
    for label in (-1, 70_000):
        with pytest.raises(ValueError, match=f"labels {label} to {label}: units are 0 to 65535"):
            codec.deduplicate(np.array([label]))


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("a", "pua"),
        ("\U000f0000 \U000f0001", "pua"),
        ("\ue000", "pua"),
        ("\U00100000", "pua"),
        ("\U000ffffe", "pua"),
        ("<extra_id_1> <extra_id_2>", "extra_id"),
        ("<extra_id_1>x", "extra_id"),
        ("<extra_id_-1>", "extra_id"),
        ("<extra_id_65536>", "extra_id"),
    ],
)
def test_text_that_is_not_units_alone_is_refused(text, style):
    with pytest.raises(ValueError, match="not only units"):
        codec.decode(text, style=style)


@given(st.text(), st.integers(0, PRIVATE - 1), st.text(), st.sampled_from(["pua", "extra_id"]))
def test_a_unit_anywhere_in_a_text_is_noticed(before, unit, after, surface):
    assert codec.holds_units(before + codec.token(unit, surface) + after)


@given(st.text(st.characters(exclude_categories=["Co", "Cs"])))
def test_ordinary_text_holds_no_units(text):
    assert not codec.holds_units(text)


@pytest.mark.parametrize("text", ["", "\ue000", "\U00100000", "extra_id_3", "<extra_id_>", "<extra_id_x>"])
def test_other_private_use_characters_and_lookalikes_hold_no_units(text):
    assert not codec.holds_units(text)
