"""The report of a finished quickstart, from a small tree of outputs in the real schemas."""

import base64
import re
from html import unescape
from html.parser import HTMLParser

import pytest

from spire_ray.core import storage
from spire_ray.quickstart import report
from spire_ray.quickstart.page import clips
from tests.quickstart.finished import CLUSTERS, RESULTS, SIGNATURE, tree


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tree(tmp_path_factory.mktemp("run"))
    return root, report.build(root)


@pytest.fixture(scope="module")
def html(built):
    return storage.read_bytes(storage.join(built[0], "report.html")).decode()


EXPECTED = {
    "asr.cpt.wer": 21.99,
    "asr.wer": 9.44,
    "asr.control.wer": 101.5,
    "mt.base.bleu": 79.6,
    "mt.base.chrf": 88.12,
    "mt.cpt.bleu": 70.0,
    "mt.cpt.chrf": 80.0,
    "mt.it.bleu": 77.3,
    "mt.it.chrf": 86.0,
    "mt_reverse.base.bleu": 80.0,
    "mt_reverse.base.chrf": 87.0,
    "mt_reverse.cpt.bleu": 72.0,
    "mt_reverse.cpt.chrf": 81.0,
    "mt_reverse.it.bleu": 70.0,
    "mt_reverse.it.chrf": 80.5,
    "st.direct.bleu": 67.8,
    "st.direct.chrf": 80.1,
    "st.multiturn.bleu": 69.7,
    "st.multiturn.chrf": 81.2,
    "st.cascade.bleu": 69.8,
    "st.cascade.chrf": 81.3,
    "st.gold.bleu": 77.3,
    "st.gold.chrf": 86.0,
    "st.control.bleu": 8.3,
    "st.control.chrf": 30.0,
    "st.shuffled_references.bleu": 7.9,
    "bleu.signature": SIGNATURE,
    "test.utterances": 12,
    "seeds": 1,
    "seconds.total": 470.2,
    "seconds.startup": 12.4,
    "seconds.corpus": 14.0,
    "seconds.codebook": 21.5,
    "seconds.label": 17.0,
    "seconds.base": 54.5,
    "seconds.extend": 5.0,
    "seconds.pack": 20.0,
    "seconds.cpt": 127.5,
    "seconds.it": 135.5,
    "seconds.evaluate": 38.0,
    "seconds.serve": 16.5,
    "rows.corpus": 32,
    "rows.codebook": 15,
    "rows.label": 32,
    "rows.base": 95 * 16,
    "rows.extend": CLUSTERS,
    "rows.pack": 2700,
    "rows.cpt": 225 * 16,
    "rows.it": 210 * 12,
    "rows.evaluate": 12,
    "rows.serve": 2,
}


def test_the_report_says_what_the_outputs_say(built):
    root, made = built
    assert made == EXPECTED
    assert storage.read_json(storage.join(root, "report.json")) == EXPECTED


class Elements(HTMLParser):
    """Start tags by name, and the tags left open."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def named(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def test_ten_clips_and_the_served_one_can_be_heard(built, html):
    clips, served = html.split("<h2>Asked over HTTP</h2>")
    assert clips.count("<audio") == 10
    [audio] = re.findall('<audio[^>]* src="data:audio/flac;base64,([^"]+)"', served)
    assert base64.b64decode(audio) == storage.read_bytes(storage.join(built[0], "corpus/audio/test/test-000003.flac"))


def test_the_page_is_one_well_formed_file(html):
    elements = Elements(html)
    assert not elements.open
    assert not elements.named("script") and not elements.named("link") and not elements.named("img")
    sources = [attributes[key] for _, attributes in elements.found for key in ("src", "href", "xlink:href") if key in attributes]
    assert all(source.startswith(("data:audio/flac;base64,", "#")) for source in sources)
    assert len(elements.named("svg")) == 5
    assert not re.search("#0[1-4]0", html)


def test_texts_are_escaped(html):
    assert "<b>sees</b>" not in html and "<i>tiny</i>" not in html
    assert "&lt;b&gt;sees&lt;/b&gt;" in html and "&lt;i&gt;tiny&lt;/i&gt;" in html


def test_the_page_explains_itself(html):
    text = " ".join(unescape(re.sub("<[^>]+>", " ", html)).split())
    for said in (
        "tokenizer 13a",
        SIGNATURE,
        "one synthesiser",
        "control: another clip's speech",
        "88 % of the base model’s",
        "3.61 h",
        "2,700 rows",
        "435 steps",
        "commit 0123456789ab with uncommitted changes",
        "7 min 50 s",
        "curl http://127.0.0.1:8000",
    ):
        assert said in text, said


@pytest.mark.parametrize(
    ("reference", "hypothesis", "left", "right"),
    [
        ("a dog sees", "a dog sees", "a dog sees", "a dog sees"),
        ("a dog sees", "a cat sees", "a <u>dog</u> sees", "a <mark>cat</mark> sees"),
        ("a dog", "a", "a <u>dog</u>", "a"),
        ("a", "a & b", "a", "a <mark>&amp; b</mark>"),
        ("a", "", "<u>a</u>", ""),
    ],
)
def test_wrong_words_are_marked(reference, hypothesis, left, right):
    assert clips.marked(reference, hypothesis) == (left, right)


def test_the_table_is_aligned(built):
    lines = report.table(built[1]).splitlines()
    assert lines[0].endswith("WER") and lines[0].startswith("Speech recognition (ASR)")
    assert [line.split()[-1] for line in lines[1:4]] == ["21.99", "9.44", "101.50"]
    [header] = [line for line in lines if line.startswith("Speech translation (ST)")]
    [direct] = [line for line in lines if line.strip().startswith("direct")]
    assert header.index("BLEU") + 4 == direct.index("67.80") + 5
    assert header.endswith("chrF") and direct.endswith("80.10") and len(header) == len(direct)


def test_what_was_not_run_is_absent(tmp_path):
    root = tree(tmp_path)
    for name in ("base/init/run.json", "base/train/run.json", "it/pack/run.json", "it/train/run.json", "serve/check.json"):
        (tmp_path / name).unlink()
    results = {key: value for key, value in RESULTS.items() if key.startswith(("cpt.asr", "shuffled"))}
    storage.write_json(storage.join(root, "evaluate", "results.json"), results)
    heard = storage.read_json(storage.join(root, "evaluate", "hypotheses.json"))
    heard["answers"] = {"cpt": heard["answers"]["cpt"]}
    storage.write_json(storage.join(root, "evaluate", "hypotheses.json"), heard)
    made = report.build(root)
    assert {key for key in made if key.startswith(("asr", "st", "mt", "mt_reverse"))} == {
        "asr.cpt.wer",
        "st.shuffled_references.bleu",
    }
    assert made["rows.pack"] == 1200 and not {"rows.base", "rows.it", "rows.serve", "bleu.signature"} & set(made)
    html = storage.read_bytes(storage.join(root, "report.html")).decode()
    assert html.count("<audio") == 10 and html.count("<svg") == 3
    assert "WER" in report.table(made)


def test_an_unfinished_run_is_refused(tmp_path):
    root = tree(tmp_path)
    path = storage.join(root, "evaluate", "run.json")
    storage.write_json(path, storage.read_json(path) | {"status": "began"})
    with pytest.raises(ValueError, match="evaluate is not finished"):
        report.build(root)
