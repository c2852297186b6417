"""How a tool of the command line ends: with a status, and with one line where the user can mend what is wrong."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps

USER_ERROR = 2
"""Exit status when the user can mend it."""

Main = Callable[[Sequence[str] | None], int]


def told(name: str) -> Callable[[Main], Main]:
    """Let a tool's `main` end with one line on stderr and USER_ERROR for a ValueError or OSError, and quietly under `| head`."""

    def wrap(main: Main) -> Main:
        @wraps(main)
        def run(arguments: Sequence[str] | None = None) -> int:
            try:
                status = main(arguments)
                sys.stdout.flush()
            except BrokenPipeError:  # Python flushes once more when it ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 0
            except (ValueError, OSError) as error:
                print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
                return USER_ERROR
            return status

        return run

    return wrap
