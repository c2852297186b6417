"""The label job against a bare loop over the same kernels, and against Daft doing the same work.

    python benchmarks/label_job.py --hours 8 --runs 3 [--codec flac] [--output benchmarks/results/label_job.json]

The clips are coloured noise of 12 s that swells like syllables, repeated in the manifest under other ids. Bare loop, Ray Data
and Daft run in turn, each in a process of its own; what a short run costs (imports, start of the cluster, loading) is
subtracted from the long one and printed apart.
Shards are an hour, as in the job unless it is told otherwise. CPU-seconds count the whole process tree; with other load on the
machine they, not the wall clock, say what a system costs.
Then one core decodes each codec, which says how many cores feed a GPU, and what a node of 4, 8 or 16 cores can keep busy.
`--systems` without a name does this alone. Daft is no dependency of ours: `pip install daft`.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import cpu
from spire_ray import cli
from spire_ray.audio import decode as audio
from spire_ray.core import provenance, storage
from spire_ray.settings import EncoderSettings, LabelSettings, TrackingSettings
from spire_ray.shards import decoding, planning
from spire_ray.shards.shard import Shard
from spire_ray.stages import label
from spire_ray.units.codebook import Codebook
from spire_ray.units.labeler import Labeler

CLIPS, SECONDS = 50, 12.0
CODECS = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "mp3": ("MP3", None), "opus": ("OGG", "OPUS")}
SHORT_HOURS = 4.0
"""Of a run that pays for the same start: enough shards that every actor and every decoding process is used."""
DECODE_PASSES = 5
SYSTEMS = ("bare", "ray", "daft")
GPU_SPEED = 13_000
"""× real time: what the units of one H200 are aimed at, not measured here."""
NODES = (4, 8, 16)
"""Cores of a node with one GPU."""


def main() -> None:
    """Measure, print and write JSON; or, with --system, be one measured process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=8.0, help="audio of a long run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--codec", choices=CODECS, default="flac")
    parser.add_argument("--systems", nargs="*", default=SYSTEMS, choices=SYSTEMS)
    parser.add_argument("--output", default="")
    parser.add_argument("--system", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.system:
        with tempfile.TemporaryDirectory() as output:
            run = {"bare": _bare, "ray": _ray, "daft": _daft}[options.system]
            run(_settings(options.folder, options.hours, f"{output}/units", options.workers))
        return
    with tempfile.TemporaryDirectory() as folder:
        _clips(Path(folder), options.codec)
        _codebook(folder)
        measured: dict[str, list[dict[str, float]]] = {system: [] for system in options.systems}
        for _ in range(options.runs):
            for system in options.systems:
                short, long = (_process(system, folder, hours, options.workers) for hours in (SHORT_HOURS, options.hours))
                measured[system].append(
                    {"cpu": long["cpu"] - short["cpu"], "wall": long["wall"] - short["wall"], "start_cpu": short["cpu"]}
                )
                print(system, {key: round(value, 1) for key, value in measured[system][-1].items()}, flush=True)
    report = _report(measured, options, {codec: _decode_speed(codec) for codec in CODECS})
    print(json.dumps(report, indent=1))
    if options.output:
        storage.write_json(options.output, report)


def _report(measured: dict[str, list[dict[str, float]]], options: argparse.Namespace, decode: dict[str, float]) -> dict[str, Any]:
    median = {system: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for system, runs in measured.items()}
    ratios = {
        f"{system}/bare {key}": round(median[system][key] / median["bare"][key], 3)
        for system in measured
        for key in ("cpu", "wall")
        if system != "bare"
    }
    spread = {
        f"{system} {key}": round((max(values) - min(values)) / median[system][key], 3)
        for system, runs in measured.items()
        for key in ("cpu", "wall")
        for values in [[run[key] for run in runs]]
        if len(values) > 1
    }
    hours = options.hours - SHORT_HOURS
    return {
        "benchmark": "label_job",
        "hours": hours,
        "codec": options.codec,
        "workers": options.workers,
        "ratios": ratios,
        "spread": spread,
        "x_real_time_per_cpu_second": {system: round(3600 * hours / median[system]["cpu"]) for system in measured},
        "decode_x_real_time_per_core": {codec: round(speed) for codec, speed in decode.items()},
        f"cores_to_feed_a_gpu_of_{GPU_SPEED}_x": {codec: round(GPU_SPEED / speed, 1) for codec, speed in decode.items()},
        "gpu_share_fed_by_cores": {
            codec: {cores: round(min(1, cores * speed / GPU_SPEED), 2) for cores in NODES} for codec, speed in decode.items()
        },
        "runs": measured,
        "machine": {"cores": os.cpu_count(), "processor": platform.processor(), "load": os.getloadavg()},
        "versions": provenance.versions() | audio.NUMERICS,
    }


def _clips(folder: Path, codec: str) -> None:
    draw = np.random.default_rng(0)
    form, subtype = CODECS[codec]
    swell = 1 + np.sin(2 * np.pi * 4 * np.arange(round(16_000 * SECONDS)) / 16_000)
    for number in range(CLIPS):
        noise = np.convolve(draw.standard_normal(len(swell)), np.hanning(12), "same")
        soundfile.write(folder / f"{number}.{codec}", noise * swell / 40, 16_000, subtype, format=form)


def _codebook(folder: str) -> None:
    draw, settings = np.random.default_rng(0), EncoderSettings(name="mfcc", options={"hop_ms": 20, "context": 9})
    from spire_ray.units.encoders.loading import load_encoder

    encoder = load_encoder(settings)
    frames = encoder.encode([draw.standard_normal(16_000 * 60).astype(np.float32) / 8])[0].numpy()
    Codebook.create(frames[:500].copy(), settings, encoder.identity, {}).save(f"{folder}/codebook")


def _manifest(folder: Path, hours: float) -> str:
    import pyarrow as pa

    clips = sorted(str(path) for path in folder.iterdir() if path.suffix[1:] in CODECS)
    count = round(hours * 3600 / SECONDS)
    rows = {
        "utt_id": [f"u{n:07d}" for n in range(count)],
        "audio": [clips[n % len(clips)] for n in range(count)],
        "duration": [SECONDS] * count,
    }
    pq.write_table(pa.table(rows), folder / f"{hours:g}.parquet", row_group_size=300)
    return str(folder / f"{hours:g}.parquet")


def _settings(folder: str, hours: float, output: str, workers: int) -> LabelSettings:
    manifest = _manifest(Path(folder), hours)
    return LabelSettings(
        manifest=manifest,
        codebook=f"{folder}/codebook",
        output=output,
        workers=workers,
        tracking=TrackingSettings(enabled=False),
    )


def _process(system: str, folder: str, hours: float, workers: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--system", system, "--folder", folder, "--hours", str(hours), "--workers", str(workers)]
    used, wall = cpu.of_command(command)
    return {"cpu": used, "wall": wall}


def _bare(settings: LabelSettings) -> None:
    """As many processes as workers, each with its share of the shards: cores that share caches and clock cost each other."""
    planned = list(planning.plan(settings.manifest, {}, settings.output, settings.shard_seconds))
    processes = multiprocessing.get_context("spawn")
    loops = [
        processes.Process(target=_loop, args=(settings, planned[number :: settings.workers]))
        for number in range(settings.workers)
    ]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
        assert loop.exitcode == 0


def _loop(settings: LabelSettings, planned: list[Shard]) -> None:
    import pyarrow as pa

    actor = label.LabelShard(settings, None, label.Hearing(decoding.Decode({}, settings.max_seconds), None, 1.0))
    for shard in planned:
        actor(pa.Table.from_pylist([vars(shard)]))


def _ray(settings: LabelSettings) -> None:
    from spire_ray.core import config

    path = f"{settings.output}.yaml"
    storage.write_json(path, {k: v for k, v in config.to_dict(settings).items() if k != "stage"} | {"stage": "label"})
    assert cli.main(["label", "--config", path]) == 0


def _daft(settings: LabelSettings) -> None:
    """As Daft's documentation advises: a class UDF that loads once, batches, a fixed concurrency; Parquet out."""
    import daft

    numbers = daft.DataType.list(daft.DataType.uint16())

    @daft.cls(max_concurrency=settings.workers, use_process=True)
    class Units:
        def __init__(self) -> None:
            import torch

            torch.set_num_threads(1)
            self.labeler = Labeler(Codebook.load(settings.codebook), "cpu", settings.batch_seconds)

        @daft.method.batch(return_dtype=daft.DataType.struct({"units": numbers, "durations": numbers}), batch_size=75)
        def __call__(self, audio_path: daft.Series) -> list[Any]:
            clips = [audio.load_pcm(path) for path in audio_path.to_pylist()]
            return [{"units": units, "durations": times} for units, times in self.labeler(clips, deduplicate=True)]

    units = Units()
    frame = daft.read_parquet(settings.manifest)
    frame.with_column("units", units(frame["audio"])).write_parquet(settings.output)


def _decode_speed(codec: str) -> float:
    """× real time of one core that only decodes; the median of some passes over the clips."""
    with tempfile.TemporaryDirectory() as folder:
        _clips(Path(folder), codec)
        passes = []
        for _ in range(DECODE_PASSES):
            began = time.process_time()
            for clip in Path(folder).iterdir():
                audio.load_pcm(str(clip))
            passes.append(CLIPS * SECONDS / (time.process_time() - began))
    return statistics.median(passes)


if __name__ == "__main__":
    main()
