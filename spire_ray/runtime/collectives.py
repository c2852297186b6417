"""What the workers of a group give each other, in torch's process group. Every worker makes the same calls in the same order."""

from typing import Any

import numpy as np


def all_reduce_sum(array: np.ndarray) -> np.ndarray:
    """The sum of what every worker gives, on all of them; of whole numbers the same in any order."""
    import torch

    total = torch.from_numpy(array)
    torch.distributed.all_reduce(total)
    return total.numpy()


def all_gather(one: Any) -> list[Any]:
    """What every worker gives, on all of them, in their order."""
    from torch import distributed

    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, one)
    return found


def gather_to_first(one: Any) -> list[Any]:
    """What every worker gives, on the first of them; nothing on the others."""
    from torch import distributed

    found: list[Any] = [None] * distributed.get_world_size() if distributed.get_rank() == 0 else []
    distributed.gather_object(one, found or None)
    return found


def broadcast(one: Any) -> Any:
    """What the first worker gives, on all of them."""
    from torch import distributed

    found = [one]
    distributed.broadcast_object_list(found)
    return found[0]
