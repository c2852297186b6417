"""Tools that read the output of a stage say what is wrong with another folder."""

import json

import pytest

from spire_ray.tools import audit, rejected, status


@pytest.mark.parametrize("tool", [audit, rejected, status])
def test_a_folder_that_no_stage_has_made_is_one_line(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path / "nowhere")]) == 2
    assert f"{tmp_path}/nowhere: no run.json there; expected the output folder of" in capsys.readouterr().err


@pytest.mark.parametrize("tool", [audit, rejected])
def test_the_output_of_another_stage_is_named(tool, tmp_path, capsys):
    (tmp_path / "run.json").write_text(json.dumps({"stage": "pack"}))
    assert tool.main([str(tmp_path)]) == 2
    assert f"{tmp_path}: made by pack; expected the output folder of prepare or label" in capsys.readouterr().err
