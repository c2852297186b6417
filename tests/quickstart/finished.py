"""A small tree of outputs in the real schemas, as a finished quickstart leaves it."""

import json

import numpy as np
import pyarrow as pa
import soundfile

from spire_ray.core import storage, tables
from spire_ray.manifest.schema import MANIFEST, UNITS
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


def clips_of(root, test, train):
    """Rows of the corpus, with audio, and as they are labelled."""
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
    return rows, labelled


def evaluated(root, labelled, test):
    """What the model answered, and the served clip."""
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


def tree(root, test=12, train=20):
    """A finished quickstart below `root` with `test` held-out clips."""
    rows, labelled = clips_of(root, test, train)
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
    evaluated(root, labelled, test)
    recipe = {"title": "quickstart", "seed": 3, "startup": 12.4, "total": 470.2, "steps": STEPS}
    storage.write_json(storage.join(root, "recipe.json"), recipe)
    return root
