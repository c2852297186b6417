"""One writer to a folder, and a killed one does not stand in the way."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from spire_ray.core import lock, storage


def lock_of(folder, **changes):
    writer = {"host": socket.gethostname(), "pid": os.getpid(), "renewed": time.time()} | changes
    storage.write_bytes(storage.join(folder, lock.LOCK_FILE), json.dumps(writer).encode())


def test_a_second_writer_is_refused_with_the_first_one_named(tmp_path):
    folder = str(tmp_path / "out")
    with lock.held(folder):
        assert lock.holder(folder)["pid"] == os.getpid()
        with pytest.raises(ValueError, match=rf"process {os.getpid()} on .* is writing there"), lock.held(folder):
            pass
    assert lock.holder(folder) is None
    with lock.held(folder):
        pass


def test_a_process_that_was_killed_leaves_no_writer(tmp_path):
    program = (
        "import os, signal\nfrom spire_ray.core import lock\n"
        f"with lock.held({str(tmp_path)!r}): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program], check=False)
    assert (tmp_path / lock.LOCK_FILE).exists()
    with lock.held(str(tmp_path)):
        assert lock.holder(str(tmp_path))["pid"] == os.getpid()


@pytest.mark.parametrize(("age", "alive"), [(10, True), (100, False)])
def test_a_writer_on_another_machine_is_alive_while_it_renews(age, alive, tmp_path):
    lock_of(str(tmp_path), host="elsewhere", renewed=time.time() - age)
    assert (lock.holder(str(tmp_path)) is not None) == alive
