"""Ray actors that make the frames of a codebook, keep them, and pass over them.

The frames of a shard of audio are written once (bfloat16, `_frames/` of the output) and stay on disk, memory-mapped, or on the
GPU; the driver sees centroids and statistics only. These are plain actors, not workers of Ray Train: what they reduce is a sum
that has the same bits in any order, so they need no process group, a lost actor is started again and reads its frames, and a
small codebook does not wait half a minute for Ray Train.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.util import ActorPool

from spire_ray import storage
from spire_ray.audio.pcm import from_pcm
from spire_ray.distributed import context, shards
from spire_ray.fingerprint import Identity
from spire_ray.manifest import alignments, marks, sample
from spire_ray.manifest.planning import Shard
from spire_ray.settings import FitCodebook
from spire_ray.units.lloyd import Statistics
from spire_ray.units.quality import Tally

_FOLDER = "_frames"
_HELD_OUT = 0.1
"""Share of the utterances whose frames only measure."""
_RESTARTS = 3


@dataclass(frozen=True)
class Made:
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


@dataclass(frozen=True)
class Part:
    """A draw of the frames of each shard: so many of them, drawn by a seed; all without a number."""

    shards: tuple[int, ...]
    frames: dict[int, int] = field(default_factory=dict)
    seed: tuple[int, ...] = ()


class Fleet:
    """The actors, and the shards that each of them keeps."""

    def __init__(self, settings: FitCodebook, planned: Sequence[Shard]) -> None:
        self._settings, self._planned = settings, planned
        count = max(1, min(settings.workers, len(planned)))
        context.require("workers", count, settings.threads, settings.gpus_per_worker)
        actor = ray.remote(Worker).options(
            num_cpus=settings.threads,
            num_gpus=settings.gpus_per_worker or None,
            max_restarts=_RESTARTS,
            max_task_retries=_RESTARTS,
        )
        self._workers = [actor.remote(settings) for _ in range(count)]
        self.made: list[Made] = []

    def encode(self) -> Iterator[Made]:
        """Make the frames of every shard that has none yet; what is known of each, as it comes."""
        known = storage.join(self._settings.output, _FOLDER)
        done = [name for name in storage.listing(known) if name.endswith(".json")]
        self.made = [Made(**json.loads(content)) for content in storage.read_files(known, done)]
        yield from self.made
        numbers = {made.shard for made in self.made}
        # the actors may hold every CPU: decoding must not wait for one, and is bounded by two shards for each actor
        decode = ray.remote(num_cpus=0, scheduling_strategy="SPREAD")(_decode)
        pool = ActorPool(self._workers * 2)  # two places each: one shard is decoded while the other is encoded
        todo = [asdict(shard) for shard in self._planned if shard.shard not in numbers]
        for made in pool.map_unordered(lambda worker, shard: worker.encode.remote(decode.remote(shard)), todo):
            self.made.append(made)
            yield made
        self.made.sort(key=lambda made: made.shard)

    def identity(self) -> Identity:
        """Of the encoder."""
        found: Identity = ray.get(self._workers[0].identity.remote())
        return found

    def first_centroids(self, frames: int) -> np.ndarray:
        """Drawn from so many frames."""
        parts = self._parts(self._quota(frames), (self._settings.seed,))
        drawn = [worker.draw.remote(part) for worker, part in zip(self._workers, parts, strict=True)]
        order = np.argsort(np.concatenate([part.shards for part in parts]), kind="stable")
        found: np.ndarray = ray.get(self._workers[0].first_centroids.remote(order.tolist(), *drawn))
        return found

    def statistics(self, centroids: np.ndarray, exponent: int, batch: int = 0, step: int = 0) -> Statistics:
        """Of all frames, or of a mini-batch."""
        parts = self._parts(self._quota(batch) if batch else {}, (self._settings.seed, step))
        shared = ray.put(centroids)
        waiting = [worker.statistics.remote(part, shared, exponent) for worker, part in zip(self._workers, parts, strict=True)]
        total = None
        while waiting:  # one at a time in the driver's memory; the sums have no order
            ready, waiting = ray.wait(waiting)
            found: Statistics = ray.get(ready[0])
            total = found if total is None else total + found
        assert total is not None
        return total

    def held_out(self, centroids: np.ndarray) -> Tally:
        """What the utterances that the fit has not seen become."""
        numbers = [made.shard for made in self.made if made.held_out]
        count = len(self._workers)
        shared = ray.put(centroids)
        found = [worker.held_out.remote(numbers[i::count], shared) for i, worker in enumerate(self._workers)]
        return sum(ray.get(found), Tally())

    def _quota(self, frames: int) -> dict[int, int]:
        """How many of so many frames each shard gives, by its size."""
        counts = np.array([made.frames for made in self.made])
        ends = np.round(np.cumsum(counts) * min(1.0, frames / max(1, counts.sum()))).astype(int)
        return {made.shard: int(n) for made, n in zip(self.made, np.diff(ends, prepend=0), strict=True)}

    def _parts(self, frames: dict[int, int], seed: tuple[int, ...]) -> list[Part]:
        count, numbers = len(self._workers), [made.shard for made in self.made if made.frames]
        return [Part(tuple(numbers[first::count]), frames, seed) for first in range(count)]

    def close(self) -> None:
        """End the actors."""
        for worker in self._workers:
            ray.kill(worker)


def discard(folder: str) -> None:
    """Remove the frames of a finished codebook."""
    storage.remove(storage.join(folder, _FOLDER))


class Worker:
    """One actor."""

    def __init__(self, settings: FitCodebook) -> None:
        import torch

        torch.set_num_threads(settings.threads)
        self._settings = settings
        self._device = "cuda" if settings.gpus_per_worker else "cpu"
        self._encoder: Any = None
        self._resident: dict[int, dict[str, Any]] = {}

    def identity(self) -> Identity:
        """Of the encoder."""
        found: Identity = self._loaded().identity
        return found

    def encode(self, decoded: pa.Table) -> Made:
        """Decoded shard → a file of frames, and what is known of them."""
        import torch
        from safetensors.torch import save

        encoder = self._loaded()
        shard = shards.Decoded.from_table(decoded)
        shard.refuse_shorter(encoder.shortest)
        ids = shard.rows["utt_id"].to_pylist()
        parts: dict[bool, list[Any]] = {False: [], True: []}
        held: list[str] = []
        for utt_id, samples, error in zip(ids, shard.samples, shard.errors, strict=True):
            if error:
                continue
            held_out = sample.chance(utt_id, self._settings.seed, "held out") < _HELD_OUT
            parts[held_out].append(encoder.encode([from_pcm(samples)])[0].to("cpu", torch.bfloat16))
            held += [utt_id] if held_out else []
        tensors = {name: _joined(parts[held_out]) for name, held_out in (("frames", False), ("held_out", True))}
        largest = max((float(tensor.abs().max()) for tensor in tensors.values() if tensor.numel()), default=0.0)
        tensors["lengths"] = torch.tensor([len(frames) for frames in parts[True]], dtype=torch.int64)
        tensors["utt_ids"] = torch.frombuffer(bytearray(json.dumps(held).encode()), dtype=torch.uint8)
        self._write(shard.shard, ".safetensors", save(tensors))
        rejected = dict(Counter(marks.reason(error) for error in shard.errors if error))
        made = Made(shard.shard, len(ids), rejected, len(tensors["frames"]), len(tensors["held_out"]), largest)
        self._write(shard.shard, ".json", json.dumps(asdict(made)).encode())
        return made

    def draw(self, part: Part) -> list[np.ndarray]:
        """The drawn frames of each shard, float32."""
        return [frames.float().cpu().numpy() for frames in self._drawn(part)]

    def first_centroids(self, order: list[int], *drawn: list[np.ndarray]) -> np.ndarray:
        """Centroids drawn from what every worker has drawn, its shards put in order."""
        import torch

        from spire_ray.units import passes

        frames = [frames for of_worker in drawn for frames in of_worker]
        joined = torch.from_numpy(np.concatenate([frames[i] for i in order])).to(self._device)
        return passes.first_centroids(joined, self._settings.clusters, self._settings.seed)

    def statistics(self, part: Part, centroids: np.ndarray, exponent: int) -> Statistics:
        """Of the frames of a part."""
        from spire_ray.units import passes

        assigner = passes.ENGINES[self._settings.engine](centroids, self._device)
        total = Statistics.empty(centroids)
        for frames in self._drawn(part):
            total += passes.statistics(frames, assigner, len(centroids), exponent)
        return total

    def held_out(self, numbers: list[int], centroids: np.ndarray) -> Tally:
        """What the held-out utterances of these shards become."""
        from spire_ray.units import passes

        assigner = passes.ENGINES[self._settings.engine](centroids, self._device)
        total = Tally()
        for number in numbers:
            tensors = self._tensors(number)
            ids = json.loads(bytes(tensors["utt_ids"].tolist()))
            phones = self._phones(ids)
            spoken = [phones.get(utt_id, []) for utt_id in ids]
            rate = self._loaded().identity.frame_rate
            total += passes.tally(tensors["held_out"], tensors["lengths"].tolist(), spoken, assigner, centroids, rate)
        return total

    def _phones(self, ids: list[str]) -> dict[str, list[dict[str, Any]]]:
        return alignments.read(self._settings.alignments, ids) if self._settings.alignments else {}

    def _drawn(self, part: Part) -> Iterator[Any]:
        import torch

        for number in part.shards:
            frames = self._tensors(number)["frames"]
            if part.frames:
                draw = np.random.default_rng([*part.seed, number])
                rows = np.sort(draw.choice(len(frames), part.frames[number], replace=False))
                frames = frames[torch.from_numpy(rows).to(frames.device)]
            yield frames

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
            from spire_ray.units.encoder import load_encoder

            self._encoder = load_encoder(self._settings.encoder, self._device)
        return self._encoder


def _decode(shard: dict[str, Any]) -> pa.Table:
    """A Ray task: the audio of a shard."""
    return shards.Decode({}, float("inf"))(pa.Table.from_pylist([shard]))


def _file(folder: str, number: int, ending: str) -> str:
    return storage.join(folder, _FOLDER, f"{number:06d}{ending}")


def _joined(parts: list[Any]) -> Any:
    import torch

    return torch.cat(parts) if parts else torch.zeros(0, 0, dtype=torch.bfloat16)
