"""What a system of several processes costs."""

import subprocess
import time

import psutil

_LOOKED_EVERY = 0.25
"""Seconds."""


def of_tree(pid: int) -> float:
    """CPU-seconds of a process and of all below it, ended children included."""
    root = psutil.Process(pid)
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])  # user and system, its own and those of ended children
        except psutil.NoSuchProcess:  # between the listing and here; its parent counts it from now on
            continue
    return total


def of_command(command: list[str]) -> tuple[float, float]:
    """Run a command: CPU-seconds of it and of all below it, and seconds. Raises CalledProcessError when it fails.

    Ray's raylet does not wait for the workers that it ends, so nobody counts their time: it is read while they live.
    """
    began = time.monotonic()
    used: dict[psutil.Process, float] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            for one in (root, *root.children(recursive=True)):
                try:
                    used[one] = sum(one.cpu_times()[:2])
                except psutil.NoSuchProcess:
                    continue
            time.sleep(_LOOKED_EVERY)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return sum(used.values()), time.monotonic() - began
