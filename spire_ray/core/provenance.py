"""What made an output folder: `run.json` beside every output.

A folder belongs to one configuration and one set of inputs. A finished folder is not made again; a folder that another
configuration or other inputs began is refused.
"""

import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from spire_ray.core import config, content, lock, redact, storage
from spire_ray.core.fields import fields
from spire_ray.core.lock import LOCK_FILE
from spire_ray.settings import StageSettings

RUN_FILE = "run.json"
CORPUS_FILE = "corpus.json"
"""Beside the rows of a corpus that was fetched: its name, license and id on the Hub."""
FETCHED = "_done"
"""Beside the models that were fetched: a file for each, with its id."""
_PREPARED = ("plan.parquet", "_manifest", "fingerprint.json", "_talkers.parquet")
"""What a job writes before its work: a folder that holds no more belongs to nobody yet."""
_STATE = "."
"""Between what made a folder and what lies in it, in an id."""
_BESIDE = (RUN_FILE, LOCK_FILE, "_tracking.jsonl", *_PREPARED)
_PACKAGES = (
    *("spire-ray", "ray", "torch", "transformers", "deepspeed", "faiss-cpu", "pyarrow", "numpy"),
    *("triton", "liger-kernel", "flash-attn", "flash-attn-3", "vllm", "nvidia-nccl-cu12", "nvidia-nccl-cu13"),  # on GPUs
)
_COMMIT = "SPIRE_COMMIT"
"""What an image was built of."""


def read(folder: str, *stages: str) -> dict[str, Any]:
    """The record of a folder. Raises ValueError where no stage, or none of `stages`, has made it."""
    path = storage.join(folder, RUN_FILE)
    expected = f"expected the output folder of {' or '.join(stages) or 'a stage'}"
    if not storage.exists(path):
        raise ValueError(f"{folder}: no {RUN_FILE} there; {expected}")
    record: dict[str, Any] = storage.read_json(path)
    if stages and record.get("stage") not in stages:
        raise ValueError(f"{folder}: made by {record.get('stage')}; {expected}")
    return record


@dataclass
class Output:
    """The folder of one stage and its record."""

    folder: str
    record: dict[str, Any] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    """Of inputs that may have grown: what lies in them now."""

    @property
    def complete(self) -> bool:
        """Whether the stage has ended well, on all that its inputs hold now."""
        return self.record.get("status") == "complete" and self.record.get("states", {}) == self.states

    @staticmethod
    def open(settings: StageSettings, adopts: Callable[[Any], bool] = lambda _: False) -> "Output":
        """The record that belongs to these settings, begun or finished; a new one where nothing has been made yet.

        A configuration that only asks for more of the same work goes on in its folder; a folder without a record is taken over
        where the stage `adopts` it. Raises ValueError if the folder was made by another one or from other inputs.
        """
        # as it is written, without what is secret, it is compared
        path = storage.join(settings.output, RUN_FILE)
        record = storage.read_json(path) if storage.exists(path) else {}
        contents = contents_of(settings, record.get("contents", {}))
        identity, inputs = redact.value(config.identity(settings)), inputs_of(settings) | contents.inputs
        new = {"stage": settings.stage, "status": "began", "config": identity, "inputs": inputs}
        if record.get("status") != "complete" and not set(storage.listing(settings.output)) - {*_BESIDE}:
            same = {**record, **new} == record
            record = record if same else new
        record = record or (new if adopts(settings) else {})
        if not record:
            raise ValueError(f"output={settings.output}: holds files but no {RUN_FILE}; choose an empty folder")
        for kind, now in (("config", identity), ("inputs", inputs)):
            if kind == "config" and config.extends(record[kind], now):
                record = {**record, kind: now}
            if record[kind] != now:
                changed = config.difference(record[kind], now)
                raise ValueError(
                    f"output={settings.output}: was made with other {kind} ({changed}); choose another output or delete it"
                )
        record = {**record, "contents": contents.files} if contents.files else record
        return Output(settings.output, record, _states(settings))

    def begin(self, settings: StageSettings) -> None:
        """Write the record before the work starts. What another configuration prepared here, and no more, goes."""
        if "resolved" not in self.record:
            for name in _PREPARED:
                place = storage.join(self.folder, name)
                (storage.remove if name == "_manifest" else storage.delete)(place)
        self.record |= {"resolved": config.to_dict(settings), "versions": versions(), "git": git_state()}
        self.record |= {"status": "began", "states": self.states}  # also where a finished folder grows
        self.record["began"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._write()

    def finish(self, state: str = "", **facts: Any) -> None:
        """Mark the folder complete. Its id is what later stages record as their input.

        `state` tells one state of a folder that may grow from another, and is the id's second part. What it was made of goes
        into it: rows of pseudo-labels carry units along, of which their own state says nothing.
        """
        state = config.digest([state, self.states]) if state and self.states else state
        made = {key: self.record[key] for key in ("stage", "config", "inputs")}
        self.record |= {"status": "complete", "id": config.digest(made) + (f"{_STATE}{state}" if state else ""), **facts}
        self._write()

    def _write(self) -> None:
        lock.check(self.folder)
        storage.write_json(storage.join(self.folder, RUN_FILE), redact.value(self.record))


def inputs_of(settings: StageSettings) -> dict[str, str]:
    """Ids of the finished folders that a configuration reads, by dotted field.

    Raises ValueError for an input that a stage has begun but not finished.
    """
    inputs = {}
    for setting in fields(settings):
        if not setting.reference or setting.operational or not setting.value:
            continue
        for record in (found := _records(setting.value)):
            if record["status"] != "complete":
                text = f"{setting.key}={setting.value}"
                raise ValueError(f"{text}: the stage {record['stage']} has not finished there; run it again first")
        if found:
            ids = [record["id"].partition(_STATE)[0] if setting.growing else record["id"] for record in found]
            inputs[setting.key] = " ".join(ids)
    return inputs


@dataclass(frozen=True)
class Contents:
    """What lies in inputs that no stage has made: a hash by dotted field, and what is known of each file."""

    inputs: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)


def contents_of(settings: StageSettings, known: content.Known) -> Contents:
    """Of the references whose content must stay as it is."""
    found = Contents()
    for setting in fields(settings):
        plain = setting.constant and setting.value and "*" not in setting.value
        if plain and _there(setting.value) and not _records(setting.value):
            found.inputs[setting.key], files = content.of(setting.value, known)
            found.files.update(files)
    return found


def _states(settings: StageSettings) -> dict[str, str]:
    """Of inputs that may have grown: what lies in them, by dotted field."""
    growing = [setting for setting in fields(settings) if setting.growing and setting.value]
    found = {setting.key: " ".join(record["id"] for record in _records(setting.value)) for setting in growing}
    return {key: ids for key, ids in found.items() if ids}


def read_by(settings: StageSettings) -> list[dict[str, str]]:
    """The data that a configuration reads, as MLflow shows it: name, digest, source and context of each.

    The digest is the id of the stage that made a folder, else what changes when the first of its files is written anew.
    """
    found = []
    for setting in fields(settings):
        if setting.reference is None or setting.reference.kind not in ("manifest", "folder") or not setting.value:
            continue
        source = str(setting.value)
        first = storage.first(source)
        if not _there(first):
            continue
        records = _records(source)
        digest = " ".join(record["id"] for record in records) or config.digest(storage.version(first))
        name = source.rstrip("/").rpartition("/")[2]
        found.append({"name": name, "digest": digest[:36], "source": source, "context": setting.key})
    return found


def _records(value: str) -> list[dict[str, Any]]:
    """The record of a folder or of the one that a file lies in; of several in braces or of a pattern those of all."""
    if len(several := storage.alternatives(value)) > 1:
        return [record for one in several for record in _records(one)]
    if "*" not in value:
        return (_record(value) or _record(value.rpartition("/")[0]))[:1]
    files = storage.expand(value) if _there(value) else []
    return [record for folder in sorted({file.rpartition("/")[0] for file in files}) for record in _record(folder)]


def _record(folder: str) -> list[dict[str, Any]]:
    """The record in a folder, if there is one; another program's file of that name is none."""
    path = storage.join(folder, RUN_FILE)
    found = storage.read_json(path) if _there(path) else {}
    return [found] if isinstance(found, dict) and {"stage", "status"} <= found.keys() else []


def _there(path: str) -> bool:
    """Whether a file is there. A bucket that may not be listed forbids to ask for one that is not."""
    try:
        return storage.exists(path)
    except PermissionError:
        return False


def lineage(place: str) -> Iterator[dict[str, Any]]:
    """What was recorded beside rows and all they were made of, the oldest first: corpora that were fetched, and stages."""
    if len(several := storage.alternatives(place)) > 1:
        for one in several:
            yield from lineage(one)
        return
    for folder in (place, place.rpartition("/")[0]):
        if _there(path := storage.join(folder, CORPUS_FILE)):
            yield storage.read_json(path)
            return
        for record in _record(folder):
            for source in (record["resolved"].get(key) for key in ("manifest", "data")):
                yield from lineage(source) if source else ()
            yield record
            return


def licenses_of(place: str) -> dict[str, str]:
    """Licenses of what rows were made of, by name: their corpus and the models that labelled them, as far back as records go."""
    found: dict[str, str] = {}
    for record in lineage(place):
        if "corpus" in record:
            found[record["corpus"]] = record["license"]
        elif record["status"] == "complete":
            found |= record["facts"].get("licenses", {})
    return found


def datasets_of(place: str) -> list[str]:
    """Ids on the Hub of the corpora that rows were made of, as far as they are known."""
    return sorted({record["hub"].partition("@")[0] for record in lineage(place) if record.get("hub")})


def hub_model(model: str) -> str:
    """The id on the Hub of the model that a model was made of, as far back as records go; empty where it is of no hub."""
    if not _there(model):
        return model.partition("@")[0] if storage.is_local(model) and re.fullmatch(r"[\w.-]+/[\w.@-]+", model) else ""
    above, _, name = model.rstrip("/").rpartition("/")
    if _there(mark := storage.join(above or ".", FETCHED, f"{name}.json")):
        return str(storage.read_json(mark)["model"]).partition("@")[0]
    before = [record["resolved"].get(key) for record in _record(model) for key in ("training", "model")]
    return next((hub_model(each) for each in before if isinstance(each, str)), "")


def versions() -> dict[str, str]:
    """Python and the packages that decide results."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, str]:
    """Commit of the image, or of the working directory and whether it has uncommitted changes; empty outside a checkout."""
    if built := os.environ.get(_COMMIT):
        return {"commit": built, "dirty": "false"}
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": commit, "dirty": str(bool(status.stdout.strip())).lower()}
