"""Lhotse Shar: a folder of `cuts.000000.jsonl.gz` and `recording.000000.tar`, which holds just the audio of each cut."""

import re
from collections.abc import Iterator

from spire_ray.audio.media import is_audio
from spire_ray.core import storage
from spire_ray.manifest import jsonl, tars
from spire_ray.manifest.formats import FORMATS, Format, lhotse
from spire_ray.manifest.schema import Row

_CUTS = re.compile(r"cuts\.(\d+)\.jsonl(\.gz)?")


def rows(uri: str) -> Iterator[tuple[str, Row]]:
    """Cuts with their audio in the tar of the same number. Raises ValueError for a tar that is not there."""
    names = storage.listing(uri)
    for cuts in filter(_CUTS.fullmatch, names):
        number = cuts.split(".")[1]
        tar = f"recording.{number}.tar"
        if tar not in names:
            raise ValueError(f"{uri}: no {tar} beside {cuts}")
        audio = dict(_members(storage.join(uri, tar), tar))
        for place, cut in jsonl.lines(storage.join(uri, cuts)):
            if cut.get("type") not in ("MonoCut", "MultiCut"):
                raise ValueError(f"{place}: a {cut.get('type')} is not read; make it a MonoCut first")
            spoken = lhotse.spoken(cut.get("supervisions") or [], cut["duration"], place)
            found = {"utt_id": cut["id"], "audio": audio.get(cut["id"]), "duration": cut["duration"]}
            yield place, {**spoken, **found}


def recognizes(file: str) -> bool:
    """A folder with such cuts."""
    return storage.is_folder(file) and any(_CUTS.fullmatch(name) for name in storage.listing(file))


def _members(uri: str, name: str) -> Iterator[tuple[str, str]]:
    for member in tars.members(uri, name):
        key, _, ending = member.name.rpartition(".")
        if is_audio(ending):
            yield key, member.part


FORMATS.register("shar", Format(recognizes, rows))
