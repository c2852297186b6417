"""NeMo's tarred data: JSON lines with `shard_id`, and the tars `audio_SHARD.tar` beside them or above.

Many manifests are named as NeMo names them, `manifest__OP_0..63_CL_.json`; the tars are read where they lie.
"""

import re
from collections.abc import Iterator

from spire_ray.core import storage
from spire_ray.manifest import jsonl, tars
from spire_ray.manifest.formats import FORMATS, Format
from spire_ray.manifest.formats.nemo import named
from spire_ray.manifest.schema import Row

_PART = re.compile(r"-sub\d+$")
_FOLDERS = ("", "..")
"""Where the tars may lie, from the manifest on: sharded manifests have a folder of their own."""


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """Rows whose audio is a member of a tar. Raises ValueError for a tar that is not there; a member that is not has no audio."""
    members: dict[int, dict[str, str]] = {}
    for place, line in jsonl.lines(uri):
        if missing := [key for key in ("shard_id", "audio_filepath") if key not in line]:
            raise ValueError(f"{place}: no {missing[0]}, which the lines before it have")
        shard = int(line["shard_id"])
        if shard not in members:
            members[shard] = _members(uri, shard, place)
        name = str(line["audio_filepath"])
        found = next((members[shard][known] for known in _known_as(name) if known in members[shard]), None)
        yield place, {"utt_id": name.rpartition(".")[0], **named(line), "audio": found}


def _known_as(name: str) -> Iterator[str]:
    """What the member of a name may be called.

    NeMo's converter flattens folders, writes a file once for all its parts, of which the others are `NAME-sub1.wav`, and keeps
    the ending of a file that it has written in another codec.
    """
    yield name
    base = name.rpartition("/")[2]
    yield base
    stem = base.rpartition(".")[0]
    yield stem
    yield _PART.sub("", stem)


def recognizes(file: str) -> bool:
    """JSON lines that name a shard and a file in it."""
    return jsonl.is_lines(file) and "shard_id" in (first := jsonl.first(file)) and "audio_filepath" in first


def _members(uri: str, shard: int, place: str) -> dict[str, str]:
    above = uri.rpartition("/")[0] or "."
    places = {folder: "/".join(part for part in (folder, f"audio_{shard}.tar") if part) for folder in _FOLDERS}
    name = next((tar for tar in places.values() if storage.exists(storage.join(above, tar))), None)
    if name is None:
        raise ValueError(f"{place}: no audio_{shard}.tar in {above} or above it, which shard_id={shard} stands for")
    found = {member.name: member.part for member in tars.members(storage.join(above, name), name)}
    return {member.rpartition(".")[0]: part for member, part in found.items()} | found


FORMATS.register("nemo_tarred", Format(recognizes, rows))
