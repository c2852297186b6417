"""`spire units sweep`: a table and a picture of codebooks of several layers and sizes, in this process, without a cluster."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from spire_ray.core import storage
from spire_ray.manifest import alignments, reader, sample
from spire_ray.settings import SAMPLE_RATE, EncoderSettings

if TYPE_CHECKING:
    import numpy as np

_SHORTEST = 0.1
"""Seconds of a clip in which every encoder hears a frame."""
_MOST_HOURS = 10.0
_HELD_OUT = 0.1
"""Share of the utterances that only measure."""
_COLUMNS = {
    "layer": "layer",
    "clusters": "K",
    "inertia": "inertia",
    "held_out_inertia": "held out",
    "entropy": "bits",
    "dead": "dead",
    "tiny": "tiny",
    "units_per_second": "units/s",
    "dedup_ratio": "kept",
    "phone_purity": "purity",
    "pnmi": "PNMI",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("manifest", help="audio, with a column `split` or --split all")
    parser.add_argument("output", help="folder for sweep.json and sweep.png")
    parser.add_argument("--encoder", required=True, help="Hugging Face id or folder")
    parser.add_argument("--layers", type=_numbers, required=True, metavar="6,9,12")
    parser.add_argument("--k", type=_numbers, required=True, metavar="500,2000", help="numbers of clusters")
    parser.add_argument("--hours", type=float, default=1.0, help=f"audio to sample, at most {_MOST_HOURS:g}")
    parser.add_argument("--split", default="train")
    parser.add_argument("--alignments", default="", help="Parquet of utt_id and phonemes, for PNMI")
    parser.add_argument("--column", action="append", default=[], metavar="COLUMN=NAME", help="a column's own name: text=sentence")
    parser.add_argument("--max-seconds", type=float, default=120.0, help="longer audio is left out")
    parser.add_argument("--cut-seconds", type=float, default=0.0, help="cut longer recordings into pieces; 0: do not")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")


def run(options: argparse.Namespace) -> None:
    """Sample, encode, fit, measure; raises ValueError for what the user can mend."""
    from spire_ray.units import codebook_plots
    from spire_ray.units.kmeans.sweep import sweep

    if not 0 < options.hours <= _MOST_HOURS:
        raise ValueError(f"--hours {options.hours:g}: must be more than 0 and at most {_MOST_HOURS:g}; all is kept in memory")
    if wrong := [number for number in (*options.layers, *options.k) if number < 1]:
        raise ValueError(f"--layers, --k: {wrong[0]} is none; both count from 1")
    clips = _clips(options)
    held_out = [utt_id for utt_id in clips if sample.chance(utt_id, options.seed, "held out") < _HELD_OUT]
    if not held_out or len(held_out) == len(clips):
        raise ValueError(f"--hours {options.hours:g}: {len(clips)} utterances are too few to hold some out; raise the hours")
    phones = alignments.read(options.alignments, held_out) if options.alignments else {}
    rows: list[dict[str, float]] = []
    for row in sweep(
        [waveform for utt_id, waveform in clips.items() if utt_id not in held_out],
        [clips[utt_id] for utt_id in held_out],
        [phones.get(utt_id, []) for utt_id in held_out],
        EncoderSettings(name=options.encoder),
        options.layers,
        options.k,
        iterations=options.iterations,
        seed=options.seed,
        device=options.device,
    ):
        names = [name for name in _COLUMNS if name in row]
        if not rows:
            print("  ".join(f"{_COLUMNS[name]:>8}" for name in names))
        print("  ".join(f"{row[name]:8.5g}" for name in names), flush=True)
        rows.append(row)
    storage.write_json(storage.join(options.output, "sweep.json"), {"options": _told(options), "rows": rows})
    storage.write_bytes(storage.join(options.output, "sweep.png"), codebook_plots.sweep(rows))
    print(f"→ {options.output}/sweep.json, sweep.png")


def _clips(options: argparse.Namespace) -> "dict[str, np.ndarray]":
    """Id → waveform of the sampled utterances; audio that cannot be read is named and left out."""
    from spire_ray.audio.pcm import from_pcm
    from spire_ray.shards.decoding import Decode

    columns = dict(pair.split("=", 1) for pair in options.column)
    seconds = options.hours * 3600
    drawn = sample.draw(options.manifest, options.split, seconds, options.seed, columns=columns)[""]
    wanted = pa.array(drawn["utt_id"].to_pylist(), pa.string())
    decode, clips = Decode({}, options.max_seconds, options.cut_seconds), {}
    for _, table in reader.located(options.manifest, columns, strict=False):
        rows = table.filter(pc.is_in(table["utt_id"], wanted)).to_pylist()
        for row, samples, error in chain.from_iterable(decode.clips(rows)):
            if not error and len(samples) < _SHORTEST * SAMPLE_RATE:
                error = f"shorter than {_SHORTEST:g} s"
            if error:
                print(f"units: {row['utt_id']}: {error}", file=sys.stderr)
            else:
                clips[row["utt_id"]] = from_pcm(samples)
    return clips


def _numbers(text: str) -> Sequence[int]:
    return [int(part) for part in text.split(",")]


def _told(options: argparse.Namespace) -> Mapping[str, object]:
    return {name: value for name, value in vars(options).items() if name not in ("run", "command")}
