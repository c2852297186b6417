"""The machine that figures were measured on, and what it can do at most."""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = (
    "torch", "triton", "transformers", "numpy", "pyarrow", "deepspeed", "liger-kernel", "flash-attn", "flash-kmeans", "ray",
)  # fmt: skip


def facts() -> dict[str, Any]:
    """Card, driver, processor, versions and commit. The card is `cpu` where there is none."""
    import torch

    found: dict[str, Any] = {
        "card": "cpu",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "commit": _said("git", "rev-parse", "HEAD"),
    }
    found["packages"] = {name: there for name in _PACKAGES if (there := _version(name))}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "card": properties.name,
            "gib": round(properties.total_memory / 2**30, 1),
            "driver": _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
            "cuda": torch.version.cuda,
            "multiprocessors": properties.multi_processor_count,
        }
    return found


def limits(device: str) -> dict[str, float]:
    """Measured: TFLOP/s of a bfloat16 product of random matrices, and GB/s of a copy, bytes read and written."""
    import torch

    size, elements = (8192, 1 << 31) if device == "cuda" else (512, 1 << 22)
    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    tflops = 2 * size**3 / median_seconds(lambda: a @ b, device) / 1e12
    source = torch.ones(elements, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = 2 * elements / median_seconds(lambda: target.copy_(source), device) / 1e9
    return {"bf16_tflops": round(tflops, 3), "copy_gb_per_s": round(copied, 1)}


def median_seconds(work: Callable[[], Any], device: str, repetitions: int = 10, warmup: int = 3) -> float:
    """Of one call: by events on a GPU, by the wall clock elsewhere."""
    return statistics.median(seconds(work, device, repetitions, warmup))


def seconds(work: Callable[[], Any], device: str, repetitions: int = 10, warmup: int = 3) -> list[float]:
    """Of each call, after some that are not counted."""
    import torch

    for _ in range(warmup):
        work()
    taken = []
    for _ in range(repetitions):
        if device != "cuda":
            began = time.perf_counter()
            work()
            taken.append(time.perf_counter() - began)
            continue
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        taken.append(start.elapsed_time(end) / 1e3)
    return taken


def profile(work: Callable[[], Any], device: str, rows: int = 25) -> str:
    """A table of the kernels that one call spends its time in."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watching

    on_gpu = device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with watching(activities=activities) as watched:
        work()
    by = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    table: str = watched.key_averages().table(sort_by=by, row_limit=rows, max_name_column_width=70)
    return table


def _said(*command: str) -> str:
    """The first line of what a command prints; empty where it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
