"""Lhotse's manifests: recordings, supervisions and cuts as JSON lines.

A file of supervisions takes its recordings from the file beside it whose name says `recordings` instead; those are held in
memory, as Lhotse itself does. Cuts bring their recordings and are read one by one.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from spire_ray.audio import probe
from spire_ray.manifest.jsonl import lines
from spire_ray.manifest.schema import Row


def recognises(row: Row) -> bool:
    """Whether a line is a recording, a supervision or a cut."""
    return "sources" in row or "recording_id" in row or str(row.get("type", "")).endswith("Cut")


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """Rows of a file of recordings, supervisions or cuts.

    Raises ValueError for mixed cuts, for audio that is no file, and for one channel of several: channels are averaged here,
    so a speaker on a channel of his own must be a file of his own.
    """
    recordings: dict[str, Row] | None = None
    for place, line in lines(uri):
        if "sources" in line:
            yield place, {"utt_id": line["id"], "audio": _path(line, place), "duration": line["duration"]}
        elif "recording_id" in line:
            if recordings is None:
                beside = uri.rpartition("/")
                name = beside[2].replace("supervisions", "recordings")
                recordings = {row["id"]: row for _, row in lines(f"{beside[0]}{beside[1]}{name}")}
            if line["recording_id"] not in recordings:
                raise ValueError(f"{place}: recording {line['recording_id']!r} is not among the recordings")
            recording = recordings[line["recording_id"]]
            yield place, _segment(line, recording, line["start"], line["duration"], [line], place)
        elif line.get("type") == "MonoCut" and line.get("recording"):
            supervisions = line.get("supervisions") or []
            yield place, _segment(line, line["recording"], line["start"], line["duration"], supervisions, place)
        else:
            raise ValueError(f"{place}: a {line.get('type', 'line')} without a recording; cuts must be MonoCut with one")


def to_cuts(table_rows: Iterable[Row]) -> Iterator[Row]:
    """Rows as MonoCuts; the audio is opened for its rate and length."""
    for row in table_rows:
        path = (row["audio"] or {}).get("path")
        if not path:
            raise ValueError(f"{row['utt_id']}: has no audio path, which a Lhotse cut needs")
        audio = probe.probe(path)
        start = row["offset"] or 0.0
        duration = row["duration"] if row["duration"] is not None else audio.seconds - start
        recording = {
            "id": row["utt_id"],
            "sources": [{"type": "file", "channels": list(range(audio.channels)), "source": path}],
            "sampling_rate": audio.rate,
            "num_samples": audio.samples,
            "duration": audio.seconds,
            "channel_ids": list(range(audio.channels)),
        }
        supervision = {
            "id": row["utt_id"],
            "recording_id": row["utt_id"],
            "start": 0.0,
            "duration": duration,
            "channel": 0,
            **{key: row[key] for key in ("text", "language", "speaker") if row[key] is not None},
        }
        if custom := {key: row[key] for key in ("corpus", "split") if row[key]} | dict(row["translations"] or ()):
            supervision["custom"] = custom
        yield {
            "id": row["utt_id"],
            "start": start,
            "duration": duration,
            "channel": 0,
            "supervisions": [supervision],
            "recording": recording,
            "type": "MonoCut",
        }


def _segment(line: Row, recording: Row, start: float, seconds: float, supervisions: list[Row], place: str) -> Row:
    channels = recording.get("channel_ids") or [c for source in recording["sources"] for c in source["channels"]]
    chosen = line.get("channel", 0)
    if len(channels) > 1 and chosen != channels:
        raise ValueError(f"{place}: channel {chosen} of {len(channels)}; write each channel as a file of its own first")
    whole = start == 0 and abs(seconds - recording["duration"]) < 1 / recording["sampling_rate"]
    row: dict[str, Any] = {
        "utt_id": line["id"],
        "audio": _path(recording, place),
        "offset": None if whole else start,
        "duration": seconds,
        "text": " ".join(s["text"] for s in supervisions if s.get("text")) or None,
    }
    for key in ("language", "speaker"):
        values = {s[key] for s in supervisions if s.get(key)}
        row[key] = values.pop() if len(values) == 1 else None
    custom: Row = next((s["custom"] for s in supervisions if s.get("custom")), {})
    return {**{key: value for key, value in custom.items() if isinstance(value, str)}, **row}


def _path(recording: Row, place: str) -> str:
    source = recording["sources"][0]
    if len(recording["sources"]) > 1 or source["type"] not in ("file", "url"):
        raise ValueError(f"{place}: the audio of a recording must be one file, not {source['type']}")
    return str(source["source"])
