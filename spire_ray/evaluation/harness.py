"""lm-evaluation-harness by its own command, and what it wrote as figures of this platform."""

import json
import math
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from spire_ray.core import config, storage, tables
from spire_ray.evaluation import results
from spire_ray.evaluation.metrics import METRICS
from spire_ray.evaluation.metrics.harness import PREFIX, scale
from spire_ray.settings import HarnessSettings

FOLDER, RAW = "harness", "results.json"
_LOG_LINES = 3
_INTERVAL = 1.96
"""Standard errors on either side of 95 %."""


def ask(settings: HarnessSettings, name: str, folder: str) -> None:
    """Have the harness ask a model folder on this machine; its `results.json` and `samples/TASK.jsonl` go to `harness/NAME`.

    Raises ValueError with its last lines where it fails.
    """
    with tempfile.TemporaryDirectory(prefix="spire-harness-") as made:
        done = subprocess.run(_command(settings, folder, made), capture_output=True, text=True, check=False, env=apart())
        if done.returncode:
            last = " ".join(done.stderr.strip().splitlines()[-_LOG_LINES:])
            raise ValueError(f"models.{name}: lm-evaluation-harness failed: {last}")
        place = storage.join(settings.output, FOLDER, name)
        for file in Path(made).rglob("samples_*.jsonl"):
            task = file.name.removeprefix("samples_").rpartition("_")[0]
            storage.write_bytes(storage.join(place, "samples", f"{task}.jsonl"), file.read_bytes())
        [found] = Path(made).rglob("results_*.json")
        storage.write_bytes(storage.join(place, RAW), found.read_bytes())  # last: it says that the model is done


def apart() -> dict[str, str]:
    """The environment of the other interpreter: nothing of this package is on its path."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _command(settings: HarnessSettings, folder: str, made: str) -> list[str]:
    dtype = f",dtype={settings.dtype}" if settings.dtype else ""
    given = {
        "--model": "hf",
        "--model_args": f"pretrained={folder}{dtype}",
        "--tasks": ",".join(settings.tasks),
        "--output_path": made,
        "--batch_size": str(settings.batch_size),
        "--device": "cuda" if settings.gpus_per_worker else "cpu",
        "--seed": str(settings.seed),
        **({"--include_path": settings.task_folder} if settings.task_folder else {}),
        **({"--num_fewshot": str(settings.shots)} if settings.shots is not None else {}),
        **({"--limit": str(settings.rows)} if settings.rows else {}),
    }
    chat = ["--apply_chat_template"] if settings.chat else []
    return [settings.python, "-m", "lm_eval", *(part for pair in given.items() for part in pair), "--log_samples", *chat]


def digest(folder: str) -> str:
    """Hash of the files of a folder of tasks; of data that they name elsewhere nothing is known."""
    contents = [[name, storage.read_bytes(storage.join(folder, name)).hex()] for name in storage.walk(folder)] if folder else []
    return config.digest(contents)


def is_done(output: str, name: str) -> bool:
    """Whether a model has been asked."""
    return storage.exists(storage.join(output, FOLDER, name, RAW))


def collect(output: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Write `results.json` and `scores/` of what the harness said of the models, as the report reads them; the figures."""
    figures: list[dict[str, Any]] = []
    for name in names:
        place = storage.join(output, FOLDER, name)
        said = storage.read_json(storage.join(place, RAW))
        for task, found in said["results"].items():
            rows = _rows(storage.join(place, "samples", f"{task}.jsonl"))
            version, shots = (said.get(key, {}).get(task) for key in ("versions", "n-shot"))
            signature = f"lm-eval:{said.get('lm_eval_version')}|task:{version}|shots:{shots}"
            for which in dict.fromkeys(key.partition(",")[2] for key in found if "," in key):
                kept = [row for row in rows if row.get("filter", which) == which]
                mine = list(_figures(name, task, which, found, kept, signature))
                if mine:
                    _write(output, name, mine[0]["scores"], mine, kept)
                figures += mine
    flat = {f"{each['model']}.{each['test_set']}.{each['metric'].removeprefix(PREFIX)}": each["value"] for each in figures}
    storage.write_json(storage.join(output, results.FILE), {**flat, "figures": figures, "rows": [], "comparisons": []})
    return figures


def _figures(
    name: str, task: str, which: str, found: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], signature: str
) -> Iterator[dict[str, Any]]:
    """Of one filter: the harness may read an answer in several ways, and tells the figures of each."""
    for key, value in found.items():
        metric, _, of = key.partition(",")
        if of != which or f"{PREFIX}{metric}" not in METRICS or not isinstance(value, int | float):
            continue
        error = found.get(f"{metric}_stderr,{which}")
        spread = _INTERVAL * error if isinstance(error, int | float) else 0.0
        by = scale(metric)
        yield {
            "model": name,
            "task": "text",
            "test_set": task if which in ("", "none") else f"{task} ({which})",
            "languages": "",
            "metric": f"{PREFIX}{metric}",
            "value": by * value,
            "low": by * (value - spread),
            "high": by * (value + spread),
            "scored": len(rows),
            "signature": signature,
            "scores": task if which in ("", "none") else f"{task}.{which}",
        }


def _rows(place: str) -> list[dict[str, Any]]:
    if not storage.exists(place):
        return []  # of a group of tasks
    return [json.loads(line) for line in storage.read_bytes(place).decode().splitlines() if line.strip()]


def _write(output: str, name: str, file: str, figures: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> None:
    """`scores/NAME/FILE.parquet`; a metric that is no mean of its rows has no numbers there."""
    texts: dict[str, list[str | None]] = dict.fromkeys(("source", "target", "corpus", "speaker"), [""] * len(rows))
    texts["utt_id"] = [str(row["doc_id"]) for row in rows]
    texts["reference"] = [str(row.get("target", "")) for row in rows]
    texts["hypothesis"] = [json.dumps(row.get("filtered_resps"), ensure_ascii=False) for row in rows]
    texts["error"] = [None] * len(rows)
    columns = {key: pa.array(values, pa.string()) for key, values in texts.items()}
    columns["duration"] = pa.nulls(len(rows), pa.float64())
    for each in figures:
        numbers = _numbers(each["metric"].removeprefix(PREFIX), each["value"], rows)
        sums = [None if number is None else [number, 1.0] for number in numbers]
        columns[each["metric"]] = pa.array(numbers, pa.float64())
        columns[f"{each['metric']}.statistics"] = pa.array(sums, pa.list_(pa.float64()))
    tables.write(storage.join(output, results.BY_ROW, name, f"{file}.parquet"), pa.table(columns))


def _numbers(metric: str, value: float, rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """What the harness says of each row, where the figure is their mean; else nothing."""
    said = [row.get(metric) for row in rows]
    found = [scale(metric) * float(each) for each in said if isinstance(each, int | float)]
    if len(found) == len(rows) > 0 and math.isclose(sum(found) / len(found), value, rel_tol=1e-6, abs_tol=1e-9):
        return [*found]
    return [None] * len(rows)
