"""Trainings on several workers without Ray: `python workers.py PHASES.json`.

Everything is imported once, then each phase forks its workers. A phase names model, pack, DeepSpeed's JSON, settings,
number of workers and the output; rank 0 writes the metrics of every step to its result. `kill_at` is the step after which
rank 0 kills itself; the others are then killed too, as Ray Train does.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

os.environ |= {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"}

import torch
import torch.distributed as dist
from pydantic import TypeAdapter

from spire_ray.settings import HeldOutSettings, TrainingSettings
from spire_ray.training import engine as engines
from spire_ray.training.trainer import Trainer


def work(phase, rank):
    world = phase["world"]
    os.environ |= {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(world), "RANK": str(rank), "WORLD_SIZE": str(world)}
    torch.set_num_threads(1)
    store = dist.FileStore(phase["result"] + ".rendezvous", world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    training = TypeAdapter(TrainingSettings).validate_python(phase["training"])
    held_out, facts = HeldOutSettings(**phase.get("held_out", {})), {"mlflow_run_id": "r"}
    place = phase["model"], phase["pack"], phase["output"]
    trainer = Trainer(*place, training, phase["deepspeed"], held_out, facts)
    lines = []

    def log(step, metrics):
        lines.append((step, metrics))
        Path(phase["result"]).write_text(json.dumps(lines))
        if step == phase.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.fit(log)
    dist.barrier()


def forked(phase, rank):
    child = os.fork()
    if child:
        return child
    status = 1
    log = os.open(f"{phase['result']}.{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        work(phase, rank)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main():
    engines.deepspeed()
    for phase in json.loads(Path(sys.argv[1]).read_text()):
        children = {forked(phase, rank) for rank in range(phase["world"])}
        failed = 0
        while children:
            child, status = os.wait()
            children.discard(child)
            failed = failed or status
            if status:
                for other in children:
                    os.kill(other, signal.SIGKILL)
        Path(phase["result"] + ".status").write_text(str(failed))


main()
