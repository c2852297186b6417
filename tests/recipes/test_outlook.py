"""What a recipe says when a step begins."""

from spire_ray.recipes.outlook import Outlook
from spire_ray.settings import ExportSettings, ServeSettings

STEPS = {
    "a": ExportSettings(output="a", training="t"),
    "b": ExportSettings(output="b", training="t"),
    "c": ServeSettings(output="c", model="m"),
}


def test_the_step_its_place_what_it_does_and_the_time_left():
    outlook = Outlook(STEPS, ["b", "c"], {"b": 60, "c": 240})
    began = outlook._began
    assert outlook.line("b", began) == "── 2 of 3  b: checkpoint → Hugging Face model folder  (5 min left)"
    outlook.ended("b")  # on a machine of half the speed
    assert outlook.line("c", began + 120) == "── 3 of 3  c: audio in, text out, over HTTP  (8 min left)"


def test_no_time_is_told_where_a_step_was_never_measured():
    assert Outlook(STEPS, list(STEPS), {"b": 60}).line("a").endswith("model folder")
