"""Ray on the card: the label job against the bare loop, a training of twenty steps, one request to the server."""

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import units_data
from benchmarks.gpu.entry import Day, Entry, Findings, in_own_process
from benchmarks.gpu.models import SMALL_ENCODER, asr_pack, cepstral_codebook, speaking_model
from spire_ray.settings import SAMPLE_RATE

ENTRY = Entry(
    "label job, training of twenty steps, one request to the server", minutes=6, needs=("ray", "deepspeed", "soundfile")
)
ROOT = Path(__file__).parents[3]
SHORT_HOURS, LONG_HOURS = 8, 48
STEPS = 20


def run(day: Day) -> None:
    """Each in processes of its own, on one cluster after the other."""
    os.environ |= {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
    with tempfile.TemporaryDirectory() as made:
        day.check("label", partial(label, day, Path(made) / "label"))
        model = speaking_model(Path(made), 64, cepstral_codebook())
        day.check("cpt", partial(cpt, day, Path(made), model))
        day.check("serve", partial(serve, day, Path(made), model))


def label(day: Day, folder: Path, found: Findings) -> None:
    """Seconds between a short and a long run, so that starts do not count; the job's share of the bare loop's speed."""
    from benchmarks import label_job

    folder.mkdir()
    config, layer, clusters = (SMALL_ENCODER, 2, 50) if day.small else units_data.SHAPES["hubert-large"]
    codebook = units_data.random_codebook(str(folder / "encoder"), config, layer, clusters, day.device)
    codebook.save(str(folder / "codebook"))
    label_job._clips(folder, "flac")
    hours = (0, 0.1) if day.small else (SHORT_HOURS, LONG_HOURS)
    seconds = {}
    for system in ("bare", "ray"):
        short, long = (in_own_process(labelled, system, str(folder), each, day.device) if each else 0.0 for each in hours)
        seconds[system] = long - short
        found[f"{system}_start_s"], found[f"{system}_s"] = short, seconds[system]
    found["hours"] = hours[1] - hours[0]
    found["x_real_time"] = 3600 * found.figures["hours"] / seconds["ray"]
    found.target("busy_against_bare", seconds["bare"] / seconds["ray"], at_least=0.97)


def labelled(system: str, folder: str, hours: float, device: str) -> float:
    """Seconds of one run; the bare loop decodes with all cores beforehand, so that it shows what the kernels can do."""
    from concurrent.futures import ProcessPoolExecutor
    from dataclasses import asdict, replace

    import pyarrow as pa

    from benchmarks import label_job
    from spire_ray.shards import decoding, planning
    from spire_ray.stages import label as job

    output = f"{folder}/{system}-{hours:g}"
    settings = replace(label_job._settings(folder, hours, output, 1), gpus_per_worker=float(device == "cuda"))
    if system == "ray":
        began = time.monotonic()
        label_job._ray(settings)
        return time.monotonic() - began
    tables = [
        pa.Table.from_pylist([asdict(shard)]) for shard in planning.plan(settings.manifest, {}, output, settings.shard_seconds)
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        decoded = list(pool.map(decoding.Decode({}, settings.max_seconds), tables))
    actor = job.LabelShard(settings)
    actor(decoded[0])  # compiles
    began = time.monotonic()
    for shard in decoded:
        actor(shard)
    return time.monotonic() - began


def cpt(day: Day, folder: Path, model: str, found: Findings) -> None:
    """`spire cpt` through Ray Train and ZeRO."""
    pack = asr_pack(folder / "pack", model)
    training = {
        "steps": STEPS,
        "global_batch_size": 4,
        "save_every": 10,
        "log_every": 1,
        "optimizer": {"lr": 1e-2, "warmup_steps": 2},
    }
    settings = {"stage": "cpt", "model": model, "pack": pack, "output": str(folder / "cpt"), "training": training}
    settings |= {"deepspeed": str(ROOT / "configs" / "deepspeed" / "zero2.json"), "tracking": {"enabled": False}}
    settings |= {"workers": 1, "gpus_per_worker": int(day.on_gpu)}
    found.at_most("exit_status", staged("cpt", settings, folder), 0)
    lines = [json.loads(line) for line in (folder / "cpt" / "metrics.jsonl").read_text().splitlines()]
    found["steps"], found["first_loss"], found["last_loss"] = len(lines), lines[0]["loss"], lines[-1]["loss"]
    found.at_most("learns", lines[-1]["loss"] / lines[0]["loss"], 0.95)
    found["save_share"] = max(line["save_share"] for line in lines)


def serve(day: Day, folder: Path, model: str, found: Findings) -> None:
    """`spire serve` answers one request as the model does without a server; encoder and model share the card."""
    import soundfile  # from a parcel

    clip = folder / "clip.wav"
    soundfile.write(clip, next(units_data.synthetic_clips(4, seed=3)), SAMPLE_RATE)
    row = {"utt_id": "u0", "audio_filepath": str(clip), "duration": 4.0, "text": "the dog", "language": "en", "split": "test"}
    (folder / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    settings = {"stage": "serve", "model": model, "output": str(folder / "serve"), "manifest": str(folder / "manifest.jsonl")}
    settings |= {
        "tracking": {"enabled": False},
        "max_new_tokens": 24,
        "gpus_per_replica": float(day.on_gpu),
        "port": _free_port(),
    }
    found.at_most("exit_status", staged("serve", settings, folder), 0)
    answer = json.loads((folder / "serve" / "check.json").read_text())["transcript"]
    alone = in_own_process(transcribed, str(clip), model, day.device)
    found["characters"] = len(answer)
    found.at_least("as_without_a_server", float(" ".join(answer.split()) == " ".join(alone.split())), 1.0)


def staged(name: str, settings: dict[str, Any], folder: Path) -> int:
    """The exit status of a stage, by the command line."""
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(settings))
    return subprocess.run([sys.executable, "-m", "spire_ray", name, "--config", str(path)], check=False).returncode


def transcribed(clip: str, model: str, device: str) -> str:
    """The text without a server."""
    from spire_ray import SpeechToText

    return SpeechToText.from_pretrained(model, device=device, max_new_tokens=24).transcribe(clip).text


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
