"""The GPU day: `python -m benchmarks.gpu --list | --only NAME… | --minutes N`; see README.md beside this file."""

import argparse
import os
import sys
from pathlib import Path

from benchmarks.gpu import results, runner
from benchmarks.gpu.entries import ORDER
from benchmarks.gpu.entry import Day, declared, module


def main() -> int:
    """Command line; the exit status is 1 when something failed."""
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--list", action="store_true", help="the entries in order of worth, and what each needs")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="entries; `smoke` means all that begin so")
    parser.add_argument("--minutes", type=float, default=60.0, help="until all must have ended")
    parser.add_argument("--output", type=Path, default=Path(".gpu"), help="folder for results.tar")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, with tiny shapes")
    parser.add_argument("--collect", type=Path, metavar="TAR", help="unpack a results.tar into benchmarks/results/gpu")
    parser.add_argument("--entry", help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.list:
        return _list()
    if options.collect:
        print(results.collect(options.collect))
        return 0
    device = "cpu" if options.rehearse else "cuda"
    if options.rehearse:
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    if options.entry:
        module(options.entry).run(Day(device, options.rehearse, options.log))
        return 0
    try:
        plan = runner.Plan(runner.chosen(options.only), options.minutes, options.output, options.rehearse)
    except ValueError as error:
        parser.error(str(error))
    return 0 if runner.run(plan) else 1


def _list() -> int:
    for name in ORDER:
        entry = declared(name)
        needs = ", ".join([*entry.needs, *([f"{entry.gib:g} GiB"] if entry.gib else [])])
        print(f"{name:18}{entry.minutes:4g} min  {entry.about}" + (f" [{needs}]" if needs else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
