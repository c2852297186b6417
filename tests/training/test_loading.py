"""Workers of one node load a model one after the other."""

import json
import multiprocessing
import os
import time
from itertools import pairwise

import torch
import torch.distributed as dist

from spire_ray.training.loading import by_turns

WORKERS = 2


def work(rank, folder):
    os.environ |= {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(WORKERS)}
    if dist.is_initialized():  # that of the tests, which a fork inherits
        dist.destroy_process_group()
    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/store", WORKERS), rank=rank, world_size=WORKERS)

    def load():
        began = time.monotonic()
        time.sleep(0.3)
        (folder / f"{rank}.json").write_text(json.dumps([began, time.monotonic()]))
        return torch.nn.Linear(1, rank + 1)

    assert by_turns(load, torch.device("cpu")).out_features == rank + 1
    dist.barrier()


def test_no_two_workers_load_at_once_and_each_gets_its_own(tmp_path):
    processes = [multiprocessing.get_context("spawn").Process(target=work, args=(rank, tmp_path)) for rank in range(WORKERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * WORKERS
    spans = sorted(json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(WORKERS))
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
