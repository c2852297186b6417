"""What a system of several processes costs."""

import psutil


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
