"""What a report says of evaluations, and that it says it without any network."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from spire_ray import cli
from spire_ray.evaluation.report import errors, gathered, tables
from tests.evaluation.report import made


@pytest.fixture(scope="module")
def scored(tmp_path_factory, ray_session):
    return made.results(str(tmp_path_factory.mktemp("talks")))


@pytest.fixture(scope="module")
def written(tmp_path_factory, scored):
    folder = tmp_path_factory.mktemp("report")
    assert cli.main(["report", scored, "--to", str(folder)]) == 0
    return folder


def test_the_best_is_bold_and_who_is_worse_by_more_than_chance_is_marked(scored, written):
    text = (written / "report.md").read_text()
    figures = {
        (f["model"], f["task"], f["metric"]): f["value"] for f in json.loads(Path(scored, "results.json").read_text())["figures"]
    }
    line = next(line for line in text.splitlines() if line.startswith("| whisper-small |"))
    assert f"**{figures['whisper-small', 'asr', 'wer']:.2f}** ± " in line
    assert re.search(r"\| spire \| [\d.]+ ± [\d.]+† \|", text)
    assert (
        "## Speech → translation" in text
        and "| spire, gold | " in text
        and "**" not in text.split("| spire, gold |")[1].split("\n")[0]
    )
    tex = (written / "report.tex").read_text()
    assert "\\textbf{" in tex and tex.count("\\begin{tabular}") == 2 and "$^\\dagger$" in tex


def test_who_did_not_answer_every_row_is_not_the_best(scored):
    found = tables.of(gathered.gather([scored]))
    [asr] = [table for table in found if table.family == "asr"]
    cells = {system: cells[0] for system, cells in asr.rows}
    assert cells["seamless"].entry.scored == 159 and not cells["seamless"].best


def test_a_table_never_mixes_two_protocols(scored, tmp_path, ray_session):
    other = made.results(str(tmp_path), protocol="spire-2025", rows=30)
    found = tables.of(gathered.gather([scored, other]))
    kinds = [(protocol, family) for protocol in ("", "spire-2025") for family in ("asr", "st")]
    assert [(table.protocol, table.family) for table in found] == kinds
    assert all({cell.entry.protocol for _, cells in table.rows for cell in cells if cell} == {table.protocol} for table in found)
    assert "Speech → transcript (spire-2025)" in tables.markdown(found)


def test_test_sets_under_noise_make_a_curve(scored, tmp_path, ray_session):
    from spire_ray.evaluation.report import curves

    names = [f"talks@noise={snr}" for snr in (0, 10, 20)]
    folders = [made.results(str(tmp_path / name), rows=20, test_set=name) for name in names]
    plots = curves.all_of(gathered.gather(folders))
    [curve] = [plot for plot in plots if "<figcaption>WER under noise: talks en<" in plot]
    assert "dB of signal to noise" in curve and "seamless" in curve


def test_the_same_measured_twice_is_refused(scored, tmp_path, capsys):
    assert cli.main(["report", scored, scored, "--to", str(tmp_path)]) == 2
    assert "whisper-small is measured twice at talks en (wer)" in capsys.readouterr().err


def test_the_page_asks_no_network_and_has_its_plots(written):
    page = (written / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)|url\((?!#)|@import|fetch\(""", page)
    assert page.count("<figure>") == 4 and "The cost of hearing" in page and "by duration" in page
    assert "prompt too long: 900 tokens of 512" in page


def test_errors_are_aligned_and_sorted_by_damage(scored):
    found = {(entry.system, entry.family): rows for entry, rows in errors.worst(gathered.gather([scored]))}
    rows = found["seamless", "asr"]
    assert rows[0]["error"] and [row["damage"] for row in rows] == sorted((row["damage"] for row in rows), reverse=True)
    shown = errors.aligned("the <b> dog sleeps here", "the dog dog sleep", "en")
    assert '<span class="wrong">&lt;b&gt;</span>' in shown and '<span class="missing">here</span>' in shown
    assert "<em>nothing</em>" in errors.aligned("the dog", "", "en")
    assert '<span class="wrong">世</span>' in errors.aligned("你好世界", "你好十界", "zh")


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium on this machine")
def test_a_browser_shows_the_page_and_filters_it(written):
    page = (written / "report.html").read_text().replace("shown();\n}", "which.value = which.options[1].value; shown();\n}")
    (written / "filtered.html").write_text(page)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{written}/filtered.html"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    cards = re.findall(r'<article class="error" data-system="([^"]+)"([^>]*)>', dom)
    assert {system for system, hidden in cards if "hidden" not in hidden} == {cards[0][0]}
    assert any("hidden" in hidden for _, hidden in cards)
