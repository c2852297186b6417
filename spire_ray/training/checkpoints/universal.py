"""A checkpoint for another number of workers: ZeRO's partitions → DeepSpeed's universal format."""

import argparse
import contextlib
import io
import shutil
from pathlib import Path

from spire_ray.training.checkpoints import record
from spire_ray.training.engine import deepspeed

FOLDER = "universal"


def convert(folder: str, step: int) -> None:
    """Write a checkpoint in the universal format into the folder `universal` beside it, once.

    Called by one worker. Raises ValueError for an optimizer whose state DeepSpeed cannot take apart.
    """
    target = Path(folder) / FOLDER / record.name(step)
    if target.exists():
        return
    deepspeed()
    from deepspeed.checkpoint.ds_to_universal import main

    partial = target.with_name(f".{target.name}")
    shutil.rmtree(target.parent, ignore_errors=True)
    arguments = argparse.Namespace(
        input_folder=str(Path(folder) / record.name(step)),
        output_folder=str(partial),
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,  # Hugging Face models lack the marks of Megatron ones
    )
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            main(arguments)
    except KeyError as error:
        raise ValueError(
            f"workers: the checkpoint in {folder} cannot be moved to another number of workers (no {error} in its "
            "optimizer state; Muon has none); use as many as before"
        ) from None
    partial.rename(target)
