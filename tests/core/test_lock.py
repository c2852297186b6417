"""One writer to a folder, whatever the clocks say; a killed one does not stand in the way, and one that slept writes no more."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from spire_ray.core import lock, storage
from spire_ray.shards import marks


def lock_of(folder, number=1, **changes):
    known = {"id": "x", "host": "elsewhere", "machine": "elsewhere", "pid": os.getpid(), "began": "1", "renewed": 0, "beat": 0}
    storage.write_bytes(lock._place(folder, number), json.dumps(known | changes).encode())


@pytest.fixture
def hasty(monkeypatch):
    """A second stands for a minute."""
    monkeypatch.setattr(lock, "_DEAD_AFTER", 1.0)
    monkeypatch.setattr(lock, "_LOOKED_EVERY", 0.02)
    monkeypatch.setattr(lock, "_RENEWED_EVERY", 0.1)


def test_a_second_writer_is_refused_with_the_first_one_named(tmp_path):
    folder = str(tmp_path / "out")
    with lock.held(folder):
        assert lock.holder(folder)["pid"] == os.getpid()
        with pytest.raises(ValueError, match=rf"process {os.getpid()} on .* is writing there"), lock.held(folder):
            pass
    assert lock.holder(folder) is None and not (tmp_path / "out" / lock.LOCK_FILE).exists()
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


def test_another_process_of_the_same_number_is_not_the_writer(tmp_path):
    lock_of(str(tmp_path), machine=lock._machine(), began="another")
    assert lock.holder(str(tmp_path)) is None
    with lock.held(str(tmp_path)):
        pass


def test_a_process_of_another_user_that_is_hidden_from_this_one_is_watched_and_not_taken_for_dead(tmp_path, hasty, monkeypatch):
    def hidden(pid, signal):
        raise PermissionError

    pid = 4_000_000  # no process of this user; /proc mounted with hidepid shows no other
    lock_of(str(tmp_path), machine=lock._machine(), pid=pid, began="5", renewed=time.time())
    assert lock.holder(str(tmp_path)) is None  # there is none of this number
    monkeypatch.setattr(lock.os, "kill", hidden)
    assert lock.holder(str(tmp_path))["pid"] == pid
    with lock.held(str(tmp_path)):  # its lock has not changed for as long as a living writer would let it be
        assert lock.holder(str(tmp_path))["pid"] == os.getpid()


@pytest.mark.parametrize("renewed", [0, 1e12], ids=["an hour behind", "ahead"])
def test_a_writer_elsewhere_lives_while_its_lock_changes_whatever_its_clock_says(renewed, tmp_path, hasty):
    folder, ended = str(tmp_path), threading.Event()
    lock_of(folder, renewed=renewed)

    def renew():
        beat = 0
        while not ended.wait(0.1):
            lock_of(folder, renewed=renewed, beat=(beat := beat + 1))

    thread = threading.Thread(target=renew)
    thread.start()
    with pytest.raises(ValueError, match="on elsewhere is writing there"), lock.held(folder):
        pass
    ended.set()
    thread.join()
    began = time.monotonic()
    with lock.held(folder):
        assert 1.0 < time.monotonic() - began < 5


def test_of_many_that_take_over_a_dead_lock_one_wins(tmp_path, hasty):
    folder, won, refused = str(tmp_path), [], []
    lock_of(folder)

    def take():
        try:
            won.append(lock._taken(folder)["number"])
        except ValueError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [2] and len(refused) == 7


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_a_writer_that_slept_and_was_taken_over_commits_no_more(where, tmp_path, hasty, s3):
    folder = str(tmp_path / "out") if where == "disk" else "s3://spire/out"
    with lock.held(folder):
        marks.write(folder, 0, marks.Mark())
        lock.check("another/folder")
        lock_of(folder, 2)
        with pytest.raises(lock.LostError, match="another process has taken it over"):
            marks.write(folder, 1, marks.Mark())
        time.sleep(0.3)  # nor does it write its lock anew, nor take away that of the new owner
    assert lock._numbers(folder)[-1] == 2 and lock._read(folder, 2)["host"] == "elsewhere"
    assert marks.done(folder) == {0}


@pytest.mark.long
def test_a_writer_that_is_stopped_for_a_while_ends_with_a_line(tmp_path):
    """Two processes, as two drivers on one output: the first sleeps until the second has taken over."""
    program = (
        "import sys, time\nfrom spire_ray.core import command, lock\n"
        "lock._DEAD_AFTER, lock._RENEWED_EVERY = 2.0, 0.3\n"
        "lock._machine = lambda: sys.argv[1]\n"
        "@command.cli_errors('job')\n"
        "def main(arguments=None):\n"
        f"    with lock.held({str(tmp_path)!r}):\n"
        "        print('held', flush=True)\n"
        "        for _ in range(300):\n"
        f"            lock.check({str(tmp_path)!r}); time.sleep(0.1)\n"
        "    return 0\n"
        "sys.exit(main())"
    )
    started = [sys.executable, "-c", program]
    first = subprocess.Popen([*started, "one"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "held\n"
    first.send_signal(signal.SIGSTOP)
    second = subprocess.Popen([*started, "two"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "waiting to see" in second.stdout.readline() and second.stdout.readline() == "held\n"
    first.send_signal(signal.SIGCONT)
    _, told = first.communicate(timeout=60)
    assert first.returncode == 2 and "another process has taken it over; this one writes no more" in told
    assert second.poll() is None and lock.holder(str(tmp_path)) is not None
    second.kill()
    second.wait()
