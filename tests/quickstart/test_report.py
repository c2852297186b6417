"""The report of a finished quickstart, from a small tree of outputs in the real schemas."""

import base64
import json
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from spire_ray.core import storage, tables
from spire_ray.manifest.schema import MANIFEST, UNITS
from spire_ray.quickstart import report
from spire_ray.quickstart.page import clips
from spire_ray.settings import SAMPLE_RATE

CLUSTERS = 40
WORDS = ["the", "big", "teacher", "<b>sees</b>", "a", "small", "dog", "&", "forgets", "“my”", "bottle", "in", "garden"]
SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
RESULTS = {
    "base.mt.bleu": 79.6,
    "base.mt.chrf": 88.123,
    "base.mt_reverse.bleu": 80.0,
    "base.mt_reverse.chrf": 87.0,
    "cpt.asr.wer": 21.98765,
    "cpt.mt.bleu": 70.0,
    "cpt.mt.chrf": 80.0,
    "cpt.mt_reverse.bleu": 72.0,
    "cpt.mt_reverse.chrf": 81.0,
    "it.asr.wer": 9.4449,
    "it.asr_control.wer": 101.5,
    "it.mt.bleu": 77.3,
    "it.mt.chrf": 86.0,
    "it.mt_reverse.bleu": 70.0,
    "it.mt_reverse.chrf": 80.5,
    "it.st_direct.bleu": 67.8,
    "it.st_direct.chrf": 80.1,
    "it.st_multiturn.bleu": 69.7,
    "it.st_multiturn.chrf": 81.2,
    "it.st_cascade.bleu": 69.8,
    "it.st_cascade.chrf": 81.3,
    "it.st_gold.bleu": 77.3,
    "it.st_gold.chrf": 86.0,
    "it.st_control.bleu": 8.3,
    "it.st_control.chrf": 30.0,
    "shuffled_references.bleu": 7.9,
    "signature": SIGNATURE,
}
STEPS = {
    "corpus": 14.0,
    "codebook": 21.5,
    "label": 17.0,
    "base.init": 3.0,
    "base.pack": 8.0,
    "base.train": 41.0,
    "base.export": 2.5,
    "extend": 5.0,
    "pack.cpt": 9.0,
    "pack.it": 11.0,
    "cpt.train": 125.0,
    "cpt.export": 2.5,
    "it.train": 133.0,
    "it.export": 2.5,
    "evaluate": 38.0,
    "serve": 16.5,
}


def record(root, folder, stage, config, **facts):
    """Write the `run.json` of a finished folder."""
    versions = {"python": "3.11.7", "machine": "x86_64", "spire-ray": "0.1.0", "ray": "2.60.0"}
    git = {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": "true"}
    made = {"stage": stage, "status": "complete", "resolved": config, "versions": versions, "git": git, "facts": facts}
    storage.write_json(storage.join(root, folder, "run.json"), made | {"began": "2026-01-31T12:00:00+0000", "seconds": 1.0})


def training(root, name, stage, steps, batch):
    record(root, f"{name}/train", stage, {"training": {"steps": steps}}, rows=steps * batch, tokens=steps * batch * 160, loss=1.0)
    points = [
        {"step": s, "loss": 1 + 5 * 0.97**s, "grad_norm": 1.0, "rate": 1.0, "tokens_per_second": 9e3, "epoch": s / 90}
        for s in range(5, steps + 1, 5)
    ]
    lines = "".join(json.dumps(point) + "\n" for point in points)
    storage.write_bytes(storage.join(root, name, "train", "metrics.jsonl"), lines.encode())


def tree(root, test=12, train=20):
    """A finished quickstart below `root` with `test` held-out clips."""
    draw = np.random.default_rng(0)
    rows, labelled = [], []
    for split, count in (("test", test), ("train", train)):
        for i in range(count):
            utt_id, path = f"{split}-{i:06d}", f"audio/{split}/{split}-{i:06d}.flac"
            seconds = float(draw.uniform(0.2, 0.5))
            (root / "corpus" / "audio" / split).mkdir(parents=True, exist_ok=True)
            noise = draw.normal(0, 0.05, int(seconds * SAMPLE_RATE))
            soundfile.write(root / "corpus" / path, noise, SAMPLE_RATE, subtype="PCM_16")
            text, german = (" ".join(draw.choice(WORDS, 8)) for _ in range(2))
            row = {"utt_id": utt_id, "text": text, "language": "en", "translations": [("de", german)], "corpus": "talking-corpus"}
            row |= {"duration": seconds, "split": split, "speaker": "en+m4"}
            rows.append(row | {"audio": {"path": path}})
            units = draw.zipf(1.6, draw.integers(20, 60)) % (CLUSTERS - 1)
            durations = draw.integers(1, 4, len(units))
            labelled.append(row | {"units": units, "durations": durations, "status": "labelled"})
    labelled[-1] |= {"units": [], "durations": [], "status": "rejected", "error": "audio ends early"}
    root = str(root)
    tables.write(storage.join(root, "corpus", "manifest.parquet"), pa.Table.from_pylist(rows, MANIFEST))
    record(root, "corpus", "corpus", {}, rows=len(rows), hours=3.61, pairs=12000)
    record(root, "codebook", "fit_codebook", {}, rows=15, frames=9000)
    half = len(labelled) // 2
    for shard, part in enumerate((labelled[:half], labelled[half:])):
        tables.write(storage.join(root, "units", f"part-{shard:06d}.parquet"), pa.Table.from_pylist(part, UNITS))
    tables.write(storage.join(root, "units", "plan.parquet"), pa.table({"shard": [0, 1]}))
    frames, units = (sum(int(sum(row["durations"])) for row in labelled), sum(len(row["units"]) for row in labelled))
    record(root, "units", "label", {}, rows=len(rows), rejected=1, frames=frames, units=units, clusters=CLUSTERS)
    record(root, "base/init", "init_model", {}, rows=24000, parameters=1_461_000, vocabulary=512)
    record(root, "extend", "extend_model", {}, rows=CLUSTERS, first_unit=512)
    record(root, "cpt/pack", "pack", {"sequence_length": 160}, rows=1200)
    record(root, "it/pack", "pack", {"sequence_length": 160}, rows=1500)
    training(root, "base", "cpt", 95, 16)
    training(root, "cpt", "cpt", 225, 16)
    training(root, "it", "it", 210, 12)
    public = [
        row | {"translation": row["translations"][0][1], "units": len(row["units"]), "frames": int(sum(row["durations"]))}
        for row in labelled[:test]
    ]
    kept = ("utt_id", "text", "translation", "speaker", "duration", "units", "frames")
    right, wrong = [row["text"] for row in public], [row["translation"].replace("big", "<i>tiny</i>") for row in public]
    answers = {"base": {"mt": wrong}, "cpt": {"asr": wrong}, "it": {"asr": right, "st_direct": wrong}}
    heard = {"rows": [{key: row[key] for key in kept} for row in public], "answers": answers}
    storage.write_json(storage.join(root, "evaluate", "hypotheses.json"), heard)
    storage.write_json(storage.join(root, "evaluate", "results.json"), RESULTS)
    record(root, "evaluate", "evaluate", {"target_language": "de"}, rows=test, **RESULTS)
    check = {"clip": "corpus/audio/test/test-000003.flac", "utt_id": "test-000003", "reference": right[3], "transcript": right[3]}
    curl = "curl http://127.0.0.1:8000/v1/audio/transcriptions -F file=@clip.flac -F model=spire -F to_language=de"
    check |= {"translation": wrong[3], "curl": curl}
    storage.write_json(storage.join(root, "serve", "check.json"), check)
    recipe = {"title": "quickstart", "seed": 3, "startup": 12.4, "total": 470.2, "steps": STEPS}
    storage.write_json(storage.join(root, "recipe.json"), recipe)
    return root


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
    assert lines[0].endswith("WER") and lines[0].startswith("Speech written down")
    assert [line.split()[-1] for line in lines[1:4]] == ["21.99", "9.44", "101.50"]
    [header] = [line for line in lines if line.startswith("Speech translated")]
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
