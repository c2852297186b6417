"""Lines of compiled code that say nothing to a user are left out; all others come, whole and in their order."""

import os
import re
import subprocess
import sys

import pytest

from spire_ray.runtime import native_log


def test_the_lines_that_match_are_left_out_and_no_others(capfd):
    with native_log.without(re.compile(rb"log level")):
        os.write(2, b"one\nSet ray log level to 3\ntwo\nhalf a line")
    os.write(2, b" and its end\n")
    assert capfd.readouterr().err == "one\ntwo\nhalf a line and its end\n"


def test_what_was_written_before_an_error_comes(capfd):
    with pytest.raises(OSError), native_log.without(re.compile(rb"log level")):
        os.write(2, b"why\n")
        raise OSError
    assert capfd.readouterr().err == "why\n"


def test_a_closed_standard_error_is_no_fault():
    program = "import os, re; from spire_ray.runtime import native_log; os.close(2)\n"
    program += "with native_log.without(re.compile(b'x')): print('on')"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (0, "on\n")
