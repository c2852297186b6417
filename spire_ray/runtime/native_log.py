"""What compiled code writes to standard error, past Python's loggers."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def without(line: re.Pattern[bytes]) -> Iterator[None]:
    """Leave out lines that match; all others come when the block ends."""
    try:
        sys.stderr.flush()
        stderr = os.dup(2)
    except OSError:  # closed: nobody reads it
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for written in held:
                if not line.search(written):
                    os.write(2, written)
