"""The frames of a codebook: each worker makes those of its own shards, keeps them, and passes over them.

The frames of a shard of audio are written once (bfloat16, `_frames/` of the output) and stay on disk, memory-mapped, or on the
GPU. Nothing here talks to other workers.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from spire_ray.audio.pcm import from_pcm
from spire_ray.audio.source import UNREACHABLE
from spire_ray.core import storage
from spire_ray.manifest import alignments, sample
from spire_ray.runtime import nodes
from spire_ray.settings import FitCodebookSettings
from spire_ray.shards import account, augmentation, decoding, ids
from spire_ray.shards.decoded import Decoded
from spire_ray.shards.shard import Shard
from spire_ray.units.fingerprint import Identity
from spire_ray.units.kmeans.lloyd import Statistics
from spire_ray.units.quality import Tally

_FOLDER = "_frames"
_HELD_OUT = 0.1
"""Share of the utterances whose frames only measure."""
_WITHHELD = 0.5
"""Share of the rows of a shard that the environment may withhold; more, and the shard is decoded on another node."""
_DECODED_AHEAD = 2
"""Shards of audio that wait for an encoder."""


@dataclass(frozen=True)
class ShardStats:
    """What is known of the frames of a shard."""

    shard: int
    rows: int
    rejected: dict[str, int]
    """By kind of reason."""
    frames: int
    """To fit on."""
    held_out: int
    largest: float
    """Largest absolute value."""


def discard(folder: str) -> None:
    """Remove the frames of a finished codebook."""
    storage.remove(storage.join(folder, _FOLDER))


def quota(made: Sequence[ShardStats], frames: int) -> dict[int, int]:
    """How many of so many frames each shard gives, by its size."""
    counts = np.array([one.frames for one in made])
    ends = np.round(np.cumsum(counts) * min(1.0, frames / max(1, counts.sum()))).astype(int)
    return {one.shard: int(n) for one, n in zip(made, np.diff(ends, prepend=0), strict=True)}


class FrameStore:
    """The shards of one worker."""

    def __init__(self, settings: FitCodebookSettings, planned: Sequence[Shard], device: str = "cpu") -> None:
        self._settings, self._planned, self._device = settings, planned, device
        self.rows = sum(shard.rows for shard in planned)
        self.made: list[ShardStats] = []
        self._encoder: Any = None
        self._resident: dict[int, dict[str, Any]] = {}

    def identity(self) -> Identity:
        """Of the encoder."""
        found: Identity = self._loaded().identity
        return found

    def encode(self) -> Iterator[ShardStats]:
        """Make the frames of every shard that has none yet; what is known of each, as it comes."""
        place = storage.join(self._settings.output, _FOLDER)
        files = {_name(shard.shard, ".json"): shard for shard in self._planned}
        done = [name for name in storage.listing(place) if name in files]
        self.made = [ShardStats(**json.loads(content)) for content in storage.read_files(place, done)]
        yield from self.made
        copies = augmentation.Augmentation.of(self._settings.augment, self._settings.output)
        decode = decoding.Decode({}, self._settings.max_seconds, self._settings.cut_seconds, augmented=copies)
        for decoded in _decoded([files[name] for name in sorted(files.keys() - set(done))], decode):
            self.made.append(self._encode(decoded))
            yield self.made[-1]
        self.made.sort(key=lambda made: made.shard)

    def _encode(self, shard: Decoded) -> ShardStats:
        """Decoded shard → a file of frames, and what is known of them."""
        import torch
        from safetensors.torch import save

        encoder = self._loaded()
        shard.refuse_shorter(encoder.shortest)
        names = shard.rows["utt_id"].to_pylist()
        parts: dict[bool, list[Any]] = {False: [], True: []}
        held: list[str] = []
        for utt_id, samples, error in zip(names, shard.samples, shard.errors, strict=True):
            of = ids.original(utt_id) if self._settings.augment.copies else utt_id
            held_out = sample.chance(of, self._settings.seed, "held out") < _HELD_OUT
            if error or (held_out and of != utt_id):  # what measures is no copy, and what is fitted on no copy of it
                continue
            parts[held_out].append(encoder.encode([from_pcm(samples)])[0].to("cpu", torch.bfloat16))
            held += [utt_id] if held_out else []
        tensors = {name: _joined(parts[held_out]) for name, held_out in (("frames", False), ("held_out", True))}
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise ValueError(f"frames: some of shard {shard.shard} are not finite; look for broken audio or weights")
        largest = max((float(tensor.abs().max()) for tensor in tensors.values() if tensor.numel()), default=0.0)
        tensors["lengths"] = torch.tensor([len(frames) for frames in parts[True]], dtype=torch.int64)
        tensors["utt_ids"] = torch.frombuffer(bytearray(json.dumps(held).encode()), dtype=torch.uint8)
        self._write(shard.shard, ".safetensors", save(tensors))
        rejected = account.by_reason(shard.errors)
        rows = len(names) - sum(map(ids.is_copy, names)) if self._settings.augment.copies else len(names)
        made = ShardStats(shard.shard, rows, rejected, len(tensors["frames"]), len(tensors["held_out"]), largest)
        self._write(shard.shard, ".json", json.dumps(asdict(made)).encode())
        return made

    def draw(self, frames: Mapping[int, int], seed: Sequence[int]) -> dict[int, np.ndarray]:
        """So many frames of each shard, drawn by a seed; float32."""
        return {number: drawn.float().cpu().numpy() for number, drawn in self._drawn(frames, seed)}

    def statistics(
        self, centroids: np.ndarray, exponent: int, frames: Mapping[int, int] | None = None, seed: Sequence[int] = ()
    ) -> Statistics:
        """Of all frames, or of so many of each shard, drawn by a seed."""
        from spire_ray.units.kmeans import passes

        assigner = passes.ENGINES[self._settings.engine](centroids, self._device)
        total = Statistics.empty(centroids)
        for _, drawn in self._drawn(frames, seed):
            total += passes.statistics(drawn, assigner, len(centroids), exponent)
        return total

    def first_centroids(self, drawn: Sequence[Mapping[int, np.ndarray]]) -> np.ndarray:
        """Centroids drawn from what every worker has drawn, shards in their order."""
        import torch

        from spire_ray.units.kmeans import passes

        frames = {number: some for of_worker in drawn for number, some in of_worker.items()}
        joined = torch.from_numpy(np.concatenate([frames[number] for number in sorted(frames)])).to(self._device)
        return passes.first_centroids(joined, self._settings.clusters, self._settings.seed)

    def held_out(self, centroids: np.ndarray) -> Tally:
        """What the utterances that the fit has not seen become."""
        from spire_ray.units.kmeans import passes

        assigner = passes.ENGINES[self._settings.engine](centroids, self._device)
        total = Tally()
        for made in self.made:
            if not made.held_out:
                continue
            tensors = self._tensors(made.shard)
            ids = json.loads(bytes(tensors["utt_ids"].tolist()))
            phones = self._phones(ids)
            spoken = [phones.get(utt_id, []) for utt_id in ids]
            rate = self._loaded().identity.frame_rate
            total += passes.tally(tensors["held_out"], tensors["lengths"].tolist(), spoken, assigner, centroids, rate)
        return total

    def _phones(self, ids: list[str]) -> dict[str, list[dict[str, Any]]]:
        return alignments.read(self._settings.alignments, ids) if self._settings.alignments else {}

    def _drawn(self, frames: Mapping[int, int] | None, seed: Sequence[int]) -> Iterator[tuple[int, Any]]:
        import torch

        for made in self.made:
            if not made.frames:
                continue
            found = self._tensors(made.shard)["frames"]
            if frames is not None:
                draw = np.random.default_rng([*seed, made.shard])
                rows = np.sort(draw.choice(len(found), frames[made.shard], replace=False))
                found = found[torch.from_numpy(rows).to(found.device)]
            yield made.shard, found

    def _tensors(self, number: int) -> dict[str, Any]:
        if number not in self._resident:
            from safetensors.torch import load, load_file

            file = _file(self._settings.output, number, ".safetensors")
            tensors = load_file(file) if storage.is_local(file) else load(storage.read_bytes(file))
            self._resident[number] = {name: tensor.to(self._device) for name, tensor in tensors.items()}
        return self._resident[number]

    def _write(self, number: int, ending: str, content: bytes) -> None:
        storage.write_bytes(_file(self._settings.output, number, ending), content)

    def _loaded(self) -> Any:
        if self._encoder is None:
            from spire_ray.units.encoders.loading import load_encoder

            self._encoder = load_encoder(self._settings.encoder, self._device)
        return self._encoder


def _decoded(todo: Sequence[Shard], task: decoding.Decode) -> Iterator[Decoded]:
    """The audio of shards, decoded by Ray tasks while those before are encoded."""
    import ray

    # the workers may hold every CPU: decoding must not wait for one
    decode = ray.remote(num_cpus=0, scheduling_strategy="SPREAD")(_decode)
    waiting = [decode.remote(task, asdict(shard)) for shard in todo[:_DECODED_AHEAD]]
    for number, shard in enumerate(todo):
        tried: set[str] = set()
        while (found := _got(waiting.pop(0)))[0] is None:
            tried.add(found[1])
            if not nodes.others(tried):
                where = ", ".join(sorted(map(nodes.name, tried)))
                raise ValueError(f"rows {shard.first} to {shard.first + shard.rows - 1} of the sample: {found[2]}, on {where}")
            elsewhere = ray.remote(num_cpus=0, **nodes.avoiding(tried))(_decode)
            waiting.insert(0, elsewhere.remote(task, asdict(shard)))
        if (ahead := number + _DECODED_AHEAD) < len(todo):
            waiting.append(decode.remote(task, asdict(todo[ahead])))
        yield Decoded.from_table(found[0])


def _got(reference: Any) -> tuple[pa.Table | None, str, str]:
    import ray

    try:
        found: tuple[pa.Table | None, str, str] = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    return found


def _decode(task: decoding.Decode, shard: dict[str, Any]) -> tuple[pa.Table | None, str, str]:
    """A Ray task: the audio of a shard, the node that decoded it, and why it is no use where too much of it is withheld."""
    decoded = task.shard(pa.Table.from_pylist([shard]))
    why = account.too_many([error for error in decoded.errors if error.startswith(UNREACHABLE)], shard["rows"], _WITHHELD)
    return None if why else decoded.to_table(), nodes.here(), why


def _name(number: int, ending: str) -> str:
    return f"{number:06d}{ending}"


def _file(folder: str, number: int, ending: str) -> str:
    return storage.join(folder, _FOLDER, _name(number, ending))


def _joined(parts: list[Any]) -> Any:
    import torch

    return torch.cat(parts) if parts else torch.zeros(0, 0, dtype=torch.bfloat16)
