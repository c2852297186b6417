"""What a report says of evaluations, and that it says it without any network."""

import base64
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spire_ray import cli
from spire_ray.evaluation.report import clips, errors, gathered, page, tables
from spire_ray.settings import SAMPLE_RATE
from tests.evaluation.report import made
from tests.serving.browser import Browser


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


def test_means_over_languages_are_of_systems_that_have_them_all(scored, tmp_path, ray_session):
    french = made.results(str(tmp_path), rows=40, languages=("en", "fr"))
    shutil.rmtree(Path(french, "scores", "whisper+tower"))
    place = Path(french, "results.json")
    said = json.loads(place.read_text())
    said["figures"] = [each for each in said["figures"] if each["model"] != "whisper+tower" and each["task"] != "asr"]
    place.write_text(json.dumps(said))
    found = tables.of(gathered.gather([scored, french]))
    assert [(table.family, table.means) for table in found] == [("asr", False), ("st", False), ("st", True)]
    whole, means = found[1:]
    assert ("talks en-2 languages", "chrf") in means.columns and "means over languages" in means.title
    assert {system for system, _ in means.rows} == {system for system, _ in whole.rows} - {"whisper+tower, cascade"}
    each = dict(whole.rows)["seamless, direct"]
    values = [cell.entry.value for column, cell in zip(whole.columns, each, strict=True) if column[1] == "chrf"]
    [mean] = [
        cell for column, cell in zip(means.columns, dict(means.rows)["seamless, direct"], strict=True) if column[1] == "chrf"
    ]
    assert len(values) == 2 and mean.entry.value == pytest.approx(sum(values) / 2)
    assert mean.text(str) == f"{mean.entry.value:.2f}" and not mean.best  # since one of its rows failed
    assert any(cell.best for cell in dict(means.rows)["spire, cascade"]) and page._cell(mean).endswith(f">{mean.text(str)}</td>")
    assert "means over languages" in tables.markdown(found) and "en-2 languages" in tables.latex(found)


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
    text = (written / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)|url\((?!#)|@import|fetch\(""", text)
    assert text.count("<figure>") == 4 and "The cost of hearing" in text and "by duration" in text
    assert "prompt too long: 900 tokens of 512" in text


def test_errors_are_aligned_and_sorted_by_damage(scored):
    found = {(entry.system, entry.family): rows for entry, rows in errors.worst(gathered.gather([scored]))}
    rows = found["seamless", "asr"]
    assert rows[0]["error"] and [row["damage"] for row in rows] == sorted((row["damage"] for row in rows), reverse=True)
    shown = errors.aligned("the <b> dog sleeps here", "the dog dog sleep", "en")
    assert '<span class="wrong">&lt;b&gt;</span>' in shown and '<span class="missing">here</span>' in shown
    assert "<em>nothing</em>" in errors.aligned("the dog", "", "en")
    assert '<span class="wrong">世</span>' in errors.aligned("你好世界", "你好十界", "zh")


def spoken(scored):
    """Let the answers of `made` be about recordings: of two speakers in two corpora, and one that is not there."""
    folder = Path(scored).parent
    time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    lines = []
    for n in range(160):
        if n != 7:
            soundfile.write(folder / f"{n}.wav", 0.3 * np.sin(2 * np.pi * (200 + 3 * n) * time), SAMPLE_RATE)
        lines.append(json.dumps({"utt_id": f"clip-{n:04d}", "audio_filepath": f"{n}.wav", "duration": 0.5}) + "\n")
    (folder / "talks.jsonl").write_text("".join(lines))
    record = {"resolved": {"data": str(folder / "talks.jsonl"), "columns": {}}}
    (folder / "answers" / "run.json").write_text(json.dumps(record))


def test_the_speech_of_a_row_is_found_from_the_records_of_the_evaluation(tmp_path):
    scored = made.results(str(tmp_path), rows=160)
    spoken(scored)
    found = clips.heard({scored: {"clip-0003", "clip-0007", "other"}})
    [(key, uri)] = found.items()
    assert key == (scored, "clip-0003")
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))
    assert (rate, len(samples)) == (SAMPLE_RATE, SAMPLE_RATE // 2)
    loudest = np.abs(np.fft.rfft(samples)).argmax() / 0.5
    assert loudest == pytest.approx(209, abs=2)
    assert clips.heard({str(tmp_path / "nothing"): {"a"}}) == {}


def test_a_report_hears_no_more_than_its_evaluation_was_allowed_to(tmp_path, capsys):
    scored = made.results(str(tmp_path), rows=160)
    spoken(scored)
    place = tmp_path / "answers" / "run.json"
    record = json.loads(place.read_text())
    record["resolved"]["storage"] = {"schemes": [], "roots": [str(tmp_path / "elsewhere")], "largest_gb": 4.0}
    place.write_text(json.dumps(record))
    assert clips.heard({scored: {"clip-0003"}}) == {}
    record["resolved"] |= {"storage": {}, "data": str(tmp_path / "talks.jsonl")}
    place.write_text(json.dumps(record))
    (tmp_path / "talks.jsonl").write_text("no manifest")
    assert clips.heard({scored: {"clip-0003"}}) == {}
    assert "its speech is not to be had" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium on this machine")
def test_a_browser_filters_the_errors_and_plays_them(tmp_path, ray_session):
    scored = made.results(str(tmp_path / "talks"))
    spoken(scored)
    assert cli.main(["report", scored, "--to", str(tmp_path / "report")]) == 0
    browser = Browser(tmp_path, tmp_path / "nothing.wav")
    try:
        browser.call("Page.navigate", url=f"file://{tmp_path}/report/report.html")
        browser.until("document.querySelectorAll('.error .play').length > 0")
        shown = "[...document.querySelectorAll('.error:not([hidden])')]"
        for name in ("system", "corpus", "speaker"):
            assert browser.run(f"document.querySelector('#filter [name={name}]').options.length") > 2
        choose = """(name, n) => {
            const field = document.querySelector(`#filter [name=${name}]`);
            field.selectedIndex = n;
            field.dispatchEvent(new Event("input"));
            return field.value;
        }"""
        every = browser.run(f"{shown}.length")
        system, speaker = browser.run(f"({choose})('system', 1)"), browser.run(f"({choose})('speaker', 2)")
        left = browser.run(f"{shown}.map(card => [card.dataset.system, card.dataset.speaker])")
        assert 0 < len(left) < every and {tuple(each) for each in left} == {(system, speaker)}
        browser.run(f"({choose})('speaker', 0), {shown}[1].querySelector('.play').click()")
        browser.until("playing && !audio.paused && audio.duration > 0.4")
        browser.until("!playing")  # it ends
        assert not browser.messages and not [url for url in browser.requests if url.startswith("http")]
        if folder := os.environ.get("SPIRE_SCREENSHOTS"):
            browser.screenshot(f"{folder}/report.png")
    finally:
        browser.close()
