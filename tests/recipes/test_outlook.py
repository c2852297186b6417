"""What a recipe says when a step begins."""

from spire_ray.recipes.outlook import Outlook
from spire_ray.settings import ExportSettings, ServeSettings

STEPS = {
    "a": ExportSettings(output="a", training="t"),
    "b": ExportSettings(output="b", training="t"),
    "c": ServeSettings(output="c", model="m"),
}


NEEDS = {"a": set(), "b": set(), "c": {"a", "b"}}


def test_the_step_its_place_what_it_does_and_the_time_left():
    outlook = Outlook(STEPS, ["b", "c"], {"b": 60, "c": 240}, NEEDS, 2)
    began = outlook._began
    assert outlook.line("b", began) == "── 2 of 3  b: checkpoint → Hugging Face model folder  (5 min left)"
    outlook.ended("b")  # on a machine of a third of the speed, half of which is believed after a minute of measured work
    assert outlook.line("c", began + 180) == "── 3 of 3  c: audio in, text out, over HTTP  (8 min left)"


def test_what_runs_beside_each_other_takes_no_time_of_its_own():
    def left(at_once):
        return Outlook(STEPS, list(STEPS), {"a": 120, "b": 60, "c": 60}, NEEDS, at_once).line("a").partition("folder  ")[2]

    assert (left(2), left(1)) == ("(3 min left)", "(4 min left)")


def test_a_step_that_took_longer_than_measured_does_not_frighten():
    outlook = Outlook(STEPS, list(STEPS), {"a": 21, "b": 200, "c": 84}, NEEDS | {"b": {"a"}}, 2)
    began = outlook._began
    outlook.ended("a")
    assert outlook.line("b", began + 33).endswith("(5 min left)")


def test_no_time_is_told_where_a_step_was_never_measured():
    assert Outlook(STEPS, list(STEPS), {"b": 60}, NEEDS, 2).line("a").endswith("model folder")
