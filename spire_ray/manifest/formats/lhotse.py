"""Lhotse's manifests: recordings, supervisions and cuts as JSON lines.

A file of supervisions takes its recordings from the file beside it whose name says `recordings` instead; those are held in
memory, as Lhotse itself does. Cuts bring their recordings and are read one by one.
"""

from collections.abc import Iterable, Iterator

from spire_ray.audio import effects, probe
from spire_ray.audio.source import AudioError
from spire_ray.manifest import jsonl
from spire_ray.manifest.formats import FORMATS, Format
from spire_ray.manifest.recording import check_file
from spire_ray.manifest.schema import Row

_TRANSLATIONS = "translations"
_BEYOND = 0.1
"""Seconds by which a supervision may reach beyond its cut: times of speech are rounded."""


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """Rows of a file of recordings, supervisions or cuts.

    Transforms of a recording become effects that its path names, and so does one channel of several. Raises ValueError for
    other transforms, mixed cuts, and audio that is no file.
    """
    recordings: dict[str, Row] | None = None
    for place, line in jsonl.lines(uri):
        if "sources" in line:
            channels = _channels(line)
            yield place, {"utt_id": line["id"], "audio": _path(line, channels, place), "duration": line["duration"]}
        elif "recording_id" in line:
            if recordings is None:
                beside = uri.rpartition("/")
                name = beside[2].replace("supervisions", "recordings")
                recordings = _recordings(f"{beside[0]}{beside[1]}{name}")
            if line["recording_id"] not in recordings:
                raise ValueError(f"{place}: recording {line['recording_id']!r} is not among the recordings")
            recording = recordings[line["recording_id"]]
            alone = {**line, "start": 0.0}
            yield place, _segment(line, recording, line["start"], line["duration"], [alone], place)
        elif line.get("type") in ("MonoCut", "MultiCut") and line.get("recording"):
            supervisions = line.get("supervisions") or []
            yield place, _segment(line, line["recording"], line["start"], line["duration"], supervisions, place)
        else:
            raise ValueError(f"{place}: a {line.get('type', 'line')} without a recording; cuts must be MonoCut with one")


def _recordings(uri: str) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for place, row in jsonl.lines(uri):
        if found.setdefault(row["id"], row) != row:
            raise ValueError(f"{place}: a second recording {row['id']!r}")
    return found


def recognizes(file: str) -> bool:
    """JSON lines of recordings, supervisions or cuts."""
    if not jsonl.is_lines(file):
        return False
    row = jsonl.first(file)
    return "sources" in row or "recording_id" in row or str(row.get("type", "")).endswith("Cut")


def to_cuts(table_rows: Iterable[Row]) -> Iterator[Row]:
    """Rows as MonoCuts, of several channels as MultiCuts of all; the audio is opened for its rate and length."""
    for row in table_rows:
        path = check_file(row, "a Lhotse cut")
        try:
            audio = probe.probe(path)
        except AudioError as error:
            raise ValueError(f"{row['utt_id']}: {path}: {error}") from None
        channels = list(range(audio.channels))
        kind, chosen = ("MonoCut", 0) if audio.channels == 1 else ("MultiCut", channels)
        start = row["offset"] or 0.0
        duration = row["duration"] if row["duration"] is not None else audio.seconds - start
        recording = {
            "id": row["utt_id"],
            "sources": [{"type": "file", "channels": channels, "source": path}],
            "sampling_rate": audio.rate,
            "num_samples": audio.samples,
            "duration": audio.seconds,
            "channel_ids": channels,
        }
        supervision = {
            "id": row["utt_id"],
            "recording_id": row["utt_id"],
            "start": 0.0,
            "duration": duration,
            "channel": chosen,
            **{key: row[key] for key in ("text", "language", "speaker") if row[key] is not None},
        }
        custom = {key: row[key] for key in ("corpus", "split")} | {_TRANSLATIONS: dict(row[_TRANSLATIONS] or ())}
        supervision["custom"] = {key: value for key, value in custom.items() if value}
        yield {
            "id": row["utt_id"],
            "start": start,
            "duration": duration,
            "channel": chosen,
            "supervisions": [supervision],
            "recording": recording,
            "type": kind,
        }


def write(uri: str, rows: Iterable[Row]) -> None:
    """One cut a line."""
    jsonl.write_lines(uri, to_cuts(rows))


def spoken(supervisions: list[Row], seconds: float, place: str) -> Row:
    """Text in the order of time, language and speaker of a cut of so many seconds, and what `custom` says in words.

    Raises ValueError for a supervision that reaches beyond its cut: its text says more than is heard.
    """
    for one in supervisions:
        start = one.get("start") or 0.0
        if start < -_BEYOND or start + (one.get("duration") or 0.0) > seconds + _BEYOND:
            raise ValueError(f"{place}: supervision {one.get('id')!r} reaches beyond its cut; use trim_to_supervisions first")
    supervisions = sorted(supervisions, key=lambda one: one.get("start") or 0.0)
    row: Row = {"text": " ".join(s["text"] for s in supervisions if s.get("text")) or None}
    for key in ("language", "speaker"):
        values = {s[key] for s in supervisions if s.get(key)}
        row[key] = values.pop() if len(values) == 1 else None
    custom: Row = next((s["custom"] for s in supervisions if s.get("custom")), {})
    return {**{key: value for key, value in custom.items() if isinstance(value, str) or key == _TRANSLATIONS}, **row}


def _segment(line: Row, recording: Row, start: float, seconds: float, supervisions: list[Row], place: str) -> Row:
    chosen = line.get("channel", 0)
    channels = [chosen] if isinstance(chosen, int) else list(chosen)
    whole = start == 0 and abs(seconds - recording["duration"]) < 1 / recording["sampling_rate"]
    row = {"utt_id": line["id"], "offset": None if whole else start, "duration": seconds}
    return {**spoken(supervisions, seconds, place), **row, "audio": _path(recording, channels, place)}


def _channels(recording: Row) -> list[int]:
    return list(recording.get("channel_ids") or [c for source in recording["sources"] for c in source["channels"]])


def _path(recording: Row, channels: list[int], place: str) -> str:
    """The file that holds the channels, and what is done to it."""
    sources = [source for source in recording["sources"] if set(channels) <= set(source["channels"])]
    if not sources:
        raise ValueError(f"{place}: channel {channels} is not in one file of {_channels(recording)}; take them apart first")
    source = sources[0]
    if source["type"] not in ("file", "url"):
        raise ValueError(f"{place}: the audio of a recording must be a file, not of the type {source['type']}")
    inside = sorted(source["channels"])
    if len(channels) > 1 and sorted(channels) != inside:
        raise ValueError(f"{place}: channels {channels} of {inside}; take one, or all, which are averaged")
    steps = [("channel", float(inside.index(channels[0])))] if len(channels) == 1 and len(inside) > 1 else []
    steps += [_step(transform, place) for transform in recording.get("transforms") or ()]
    return effects.written(str(source["source"]), steps)


def _step(transform: Row, place: str) -> tuple[str, float]:
    """A transform as an effect."""
    name, given = str(transform.get("name", "")), transform.get("kwargs") or {}
    key = {"Speed": "factor", "Tempo": "factor", "Volume": "factor", "Resample": "target_sampling_rate"}.get(name)
    if key is None or key not in given:
        raise ValueError(f"{place}: the transform {name or transform} is not applied; store the recording with it first")
    return name.lower(), float(given[key])


FORMATS.register("lhotse", Format(recognizes, rows, write))
