"""Loss on rows that are not trained on, apart for each source of their pack: ASR, ST, MT and text."""

from itertools import islice

import numpy as np
import torch
import torch.distributed as dist

from spire_ray.packs.pack import Pack
from spire_ray.settings import HeldOutSettings
from spire_ray.training.batch import collate
from spire_ray.training.engine import Engine


class HeldOutRows:
    """The rows of one measurement, spread over the workers."""

    def __init__(self, settings: HeldOutSettings, micro_batch_size: int) -> None:
        pack = Pack(settings.pack)
        rows = list(islice(pack.epoch(0, 0), settings.rows))
        rank, world = dist.get_rank(), dist.get_world_size()
        self._whole = pack.whole_rows
        self._names: list[str] = [source["name"] for source in pack.index["sources"]]
        # as many forward passes on every worker, which ZeRO-3 needs; rows that fill up count for nothing
        each = -(-len(rows) // (micro_batch_size * world)) * micro_batch_size
        mine = [(row, True) for row in rows[rank::world]]
        mine += [(rows[0], False)] * (each - len(mine))
        self._batches = [mine[start : start + micro_batch_size] for start in range(0, each, micro_batch_size)]

    def measure(self, engine: Engine) -> dict[str, float]:
        """Mean loss over the counted tokens of each source, and over all."""
        sums = np.zeros((2, len(self._names)))
        for pairs in self._batches:
            batch = collate([row for row, _ in pairs], whole=self._whole)
            losses = engine.losses(batch).numpy()
            places = batch.targets.numpy()
            counts = np.repeat([real for _, real in pairs], len(pairs[0][0].input_ids))[places]
            source = np.concatenate([row.sources for row, _ in pairs])[places]
            for number in range(len(self._names)):
                chosen = counts & (source == number)
                sums[:, number] += losses[chosen].sum(), chosen.sum()
        total = torch.from_numpy(sums).to(engine.device)
        dist.all_reduce(total)
        loss, tokens = total.cpu().numpy()
        means = {name: float(a / n) for name, a, n in zip(self._names, loss, tokens, strict=True) if n}
        return {f"held_out/{name}": value for name, value in means.items()} | {"held_out/all": float(loss.sum() / tokens.sum())}
