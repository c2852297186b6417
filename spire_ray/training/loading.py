"""Loading a model in many workers of one node."""

import os
from collections.abc import Callable

import torch
import torch.distributed as dist
from transformers import PreTrainedModel


def by_turns(load: Callable[[], PreTrainedModel], device: torch.device) -> PreTrainedModel:
    """What `load` reads into the memory of the node, on the worker's card, worker after worker.

    Eight workers that read 7 B parameters at once take 108 GB of their node; by turns they take 14. What
    DeepSpeed flattens then it flattens on the card. All workers call it together.
    """
    turns = torch.tensor(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), device=device)
    dist.all_reduce(turns, op=dist.ReduceOp.MAX)
    mine, model = int(os.environ.get("LOCAL_RANK", "0")), None
    for turn in range(int(turns)):
        if turn == mine:
            model = load().to(device)  # type: ignore[arg-type]
        dist.barrier()
    assert model is not None, f"LOCAL_RANK={mine} of {int(turns)} workers"
    return model
