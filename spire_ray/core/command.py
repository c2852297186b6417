"""How a command ends: with its status, or with one line where the user can mend what is wrong."""

import builtins
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from functools import wraps

from spire_ray.core import redact

USER_ERROR = 2
"""Exit status when the user can mend it."""
_STDOUT = 1
_NOBODY_READS = 128 + signal.SIGPIPE

Main = Callable[[Sequence[str] | None], int]


def cli_errors(name: str, words: Callable[[BaseException], str] = str) -> Callable[[Main], Main]:
    """Let a command end with USER_ERROR and one line on stderr, in its `words`, for what a user can mend.

    That is a ValueError or OSError, here or in an actor of Ray, and an error of S3.

    Under `| head` it ends quietly, with the status of a program that nobody reads any more.
    """

    def wrap(main: Main) -> Main:
        @wraps(main)
        def run(arguments: Sequence[str] | None = None) -> int:
            with redact.printed():
                return guarded(arguments)

        def guarded(arguments: Sequence[str] | None) -> int:
            try:
                status = main(arguments)
                sys.stdout.flush()
            except Exception as error:
                line = _line(error, words)
                if not line:
                    raise
                if isinstance(error, BrokenPipeError) and _nobody_reads():
                    return _NOBODY_READS
                print(f"{name}: error: {' '.join(line.split())}", file=sys.stderr)
                return USER_ERROR
            return status

        return run

    return wrap


def _line(error: BaseException, words: Callable[[BaseException], str]) -> str:
    """What there is to tell of an error that the user can mend; empty for others."""
    if isinstance(error, ValueError | OSError) or type(error).__module__.startswith("botocore."):
        return words(error) or type(error).__name__
    if not type(error).__module__.startswith("ray.") or not str(error).strip():
        return ""
    name, _, said = str(error).strip().splitlines()[-1].partition(": ")  # how the error of an actor ends
    kind = getattr(builtins, name.rpartition("(")[2], None)
    return said if isinstance(kind, type) and issubclass(kind, ValueError | OSError) else ""


def _nobody_reads() -> bool:
    """Whether it is the pipe of stdout that is broken, not a connection; what is left for it is then thrown away."""
    pipe = select.poll()
    pipe.register(_STDOUT, 0)  # errors alone, which are always reported
    broken = any(event & select.POLLERR for _, event in pipe.poll(0))
    if broken:
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)  # Python flushes once more when it ends
    return broken
