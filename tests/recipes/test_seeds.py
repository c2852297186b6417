"""Several seeds of one recipe: mean and spread, and nothing else is averaged."""

import pytest

from spire_ray import cli
from spire_ray.core import storage


@pytest.fixture
def roots(tmp_path):
    made = []
    for seed, wer in enumerate((4.0, 5.0, 9.0)):
        root = tmp_path / f"seed{seed}"
        storage.write_json(str(root / "recipe.json"), {"title": "quickstart", "seed": seed})
        storage.write_json(str(root / "report.json"), {"asr.wer": wer, "seconds.total": 500 + seed, "test.utterances": 250})
        made.append(str(root))
    return made


def test_mean_smallest_and_largest(roots, capsys):
    assert cli.main(["report", *roots]) == 0
    shown = capsys.readouterr().out
    assert "| `asr.wer` | 6.0 | 4.0 | 9.0 |" in shown
    assert "| `seconds.total` | 501.0 | 500.0 | 502.0 |" in shown
    assert "test.utterances" not in shown


def test_one_seed_twice_is_refused(roots, capsys):
    assert cli.main(["report", roots[0], roots[0]]) == 2
    assert "seeds [0, 0], but each must differ" in capsys.readouterr().err


def test_different_recipes_are_refused(roots, capsys):
    storage.write_json(f"{roots[1]}/recipe.json", {"title": "smoke", "seed": 7})
    assert cli.main(["report", *roots]) == 2
    assert "different recipes (quickstart, smoke)" in capsys.readouterr().err
