"""The trained weights of a checkpoint, one at a time: DeepSpeed's own reader holds all of them, twice, in float32.

Files are mapped into memory, so that only what is asked for is read. Masters of ZeRO 1 and 2 lie end to end in one vector for
each parameter group, cut into as many partitions as there were workers.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from spire_ray.training.checkpoints import record
from spire_ray.training.engine import deepspeed

Weights = dict[str, Callable[[], torch.Tensor]]
"""How to read each trained parameter, float32, by its name in the model."""


def trained(folder: str, step: int) -> Weights:
    """The trained parameters of a checkpoint."""
    path = Path(folder) / record.name(step)
    states = [_load(file) for file in sorted(path.glob("*_optim_states.pt"), key=_rank)]
    if not states:  # without ZeRO and in float32 the weights lie beside the optimizer
        (file,) = path.glob("*model_states.pt")
        found: Weights = {name: tensor.float for name, tensor in _load(file)["module"].items()}
    # ZeRO 1 that adds gradients up in float32 does not say its stage
    elif states[0]["optimizer_state_dict"].get("zero_stage") == 3:
        found = _stage_3(folder, record.name(step))
    else:
        found = _vectors(_load(path / "mp_rank_00_model_states.pt"), [state["optimizer_state_dict"] for state in states])
    return {name.removeprefix("model."): read for name, read in found.items()}


def _vectors(model: dict[str, Any], states: list[dict[str, Any]]) -> Weights:
    """ZeRO 1 and 2: each parameter is a stretch of the vector of its group."""
    found: Weights = {}
    for group, shapes in enumerate(model["param_shapes"]):
        parts = [state["single_partition_of_fp32_groups"][group].detach() for state in states]
        gaps = (states[0].get("param_alignment_paddings") or {group: [0] * len(shapes)})[group]
        place = 0
        for (name, shape), gap in zip(shapes.items(), gaps, strict=True):
            found[name] = partial(_stretch, parts, place, torch.Size(shape))
            place += torch.Size(shape).numel() + gap
    return found


def _stretch(parts: Sequence[torch.Tensor], start: int, shape: torch.Size) -> torch.Tensor:
    """The numbers from `start` on of partitions laid end to end."""
    stop, ends = start + shape.numel(), list(accumulate(len(part) for part in parts))
    pieces = [part[max(0, start - end + len(part)) : stop - end + len(part)] for part, end in zip(parts, ends, strict=True)
              if end - len(part) < stop and end > start]  # fmt: skip
    return torch.cat(pieces).view(shape)


def _stage_3(folder: str, tag: str) -> Weights:
    deepspeed()
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    with redirect_stdout(StringIO()):  # it prints its steps
        lazy = get_fp32_state_dict_from_zero_checkpoint(folder, tag=tag, exclude_frozen_parameters=True, lazy_mode=True)
    return {name: tensor.contiguous for name, tensor in lazy.items()}


def _load(file: Path) -> dict[str, Any]:
    """A pickle, whose bytes `places.newest` has held against the checksums of their record."""
    state: dict[str, Any] = torch.load(file, map_location="cpu", mmap=True, weights_only=False)
    return state


def _rank(file: Path) -> int:
    """The worker that wrote a file, whose number is in its name."""
    found = re.search(r"rank_(\d+)_", file.name)
    assert found
    return int(found[1])
