"""`spire`: quick to say what there is, clear about what there is not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spire_ray import cli
from spire_ray.core.command import USER_ERROR, cli_errors
from spire_ray.core.registry import modules
from spire_ray.core.stage import STAGES as REGISTERED

ROOT = Path(__file__).parent.parent
STAGES, TOOLS = modules("spire_ray.stages"), modules("spire_ray.tools")
SPIRE = str(Path(sys.executable).parent / "spire")


def spire(*arguments):
    return subprocess.run([SPIRE, *arguments], capture_output=True, text=True)


def test_help_lists_every_stage_and_tool_in_half_a_second():
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        done = spire("--help")
        seconds.append(time.monotonic() - began)
    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert listed == [*STAGES, *TOOLS]
    assert min(seconds) < 0.5


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_nothing_and_both_help_options_show_the_same(capsys, arguments):
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.startswith("usage: spire NAME")


def test_an_unknown_name_is_one_line_and_exit_status_2(capsys):
    assert cli.main(["labell"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "spire: error: 'labell' is neither a stage nor a tool; `spire --help` lists them\n"


@pytest.mark.parametrize(
    "arguments",
    [["data", "show"], ["label", "--config", "configs/quickstart/label.yaml", "--print-config"]],
    ids=["a tool", "a stage"],
)
def test_a_reader_that_has_enough_ends_a_command_quietly(arguments):
    process = subprocess.Popen([SPIRE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()  # what `| head` does when it has its lines
    assert (process.wait(timeout=60), process.stderr.read()) == (128 + signal.SIGPIPE, b"")


def test_a_connection_that_breaks_is_told(capsys):
    @cli_errors("fetch")
    def fails(arguments):
        raise BrokenPipeError(32, "Broken pipe", "s3://bucket/key")

    assert fails() == USER_ERROR
    assert capsys.readouterr().err == "fetch: error: [Errno 32] Broken pipe: 's3://bucket/key'\n"


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_its_options(capsys, name):
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: spire {name} ")
    assert all(option in out for option in ("--config", "--dry-run", "--strict", "--print-config"))


@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_has_its_options(capsys, name):
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: spire {name} ")


def test_a_tool_knows_where_home_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.jsonl").write_text('{"audio_filepath": "a.wav"}')
    assert cli.main(["manifest", "~/m.jsonl", "~/new/made.parquet"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.jsonl", "new"]
    assert cli._HOME.sub(cli._at_home, "--page=~/p.html") == f"--page={tmp_path}/p.html"
    assert [cli._HOME.sub(cli._at_home, each) for each in ("~other/a", "a~/b", "u~babble1")] == ["~other/a", "a~/b", "u~babble1"]


def test_a_stage_is_one_module_and_its_door_in_jobs():
    assert list(REGISTERED) == list(STAGES)
    assert {path.stem for path in (ROOT / "jobs").glob("*.py")} == set(STAGES)
    for name in STAGES:
        assert f'main(["{name}", ' in (ROOT / "jobs" / f"{name}.py").read_text()


def test_the_readme_lists_the_stages_as_they_declare_themselves():
    rows = [f"| `{name}` | {text} | {REGISTERED[name].uses} |" for name, text in STAGES.items()]
    assert set(rows) <= set((ROOT / "README.md").read_text().splitlines())


def test_the_page_of_settings_is_what_the_classes_say(capsys):
    assert cli.main(["settings", "--markdown"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "settings.md").read_text()


def test_a_configuration_that_is_not_there_is_one_line_and_exit_status_2(capsys, tmp_path):
    assert cli.main(["pack", "--config", str(tmp_path / "absent.yaml")]) == 2
    assert capsys.readouterr().err == f"pack: error: config={tmp_path}/absent.yaml: no such file\n"


def refusing(received):
    """A command whose actor of Ray ends as it starts."""
    import ray

    class Actor:  # here, so that Ray takes its code along
        def __init__(self):
            raise received

    @cli_errors("evaluate")
    def fails(arguments=None):
        return ray.get(ray.remote(Actor).remote().__ray_ready__.remote())

    return fails


@pytest.mark.parametrize("received", [ValueError("units=u: of another codebook"), OSError("no such model")])
def test_what_an_actor_refuses_as_it_starts_is_one_line(ray_session, capsys, received):
    assert refusing(received)() == USER_ERROR
    assert capsys.readouterr().err.splitlines()[-1] == f"evaluate: error: {received}"


def test_what_is_wrong_with_an_actor_itself_is_no_line(ray_session):
    with pytest.raises(Exception, match="KeyError"):
        refusing(KeyError("x"))()


def test_the_training_of_spire_is_a_program_that_needs_no_argument():
    job = Path(__file__).parent.parent / "jobs" / "cpt.py"
    environment = os.environ | {
        "PYTHONPATH": str(job.parent.parent),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    run = {"cwd": job.parent.parent, "env": environment, "capture_output": True, "text": True}
    told = subprocess.run([job, "--dry-run", "root=r"], check=False, **run)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("cpt → r/")
