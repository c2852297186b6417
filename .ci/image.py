"""cluster/Dockerfile without Docker: its RUN lines, in order and as their user, in a clean Debian root.

    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates,git bookworm ROOT
    python .ci/image.py ROOT EXTRAS=train,serve,eval,cpu

wants root, 4 GB and, where pip asks a network, /etc/resolv.conf in ROOT. A virtual environment stands for the Python of the
base image, and EXTRAS without `gpu` leave out its wheels.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent.parent
PYTHON = "/home/ray/python"


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(word, rest) of every instruction after FROM, continued lines joined."""
    lines = [line for line in dockerfile.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    found = [(word, rest) for word, _, rest in (line.partition(" ") for line in joined if line.strip())]
    return found[[word for word, _ in found].index("FROM") + 1 :]


def sent() -> list[str]:
    """Files of the repository that cluster/Dockerfile.dockerignore lets through."""
    rules = (HERE / "cluster" / "Dockerfile.dockerignore").read_text().splitlines()
    patterns = [rule[1:] for rule in rules if rule.startswith("!")]
    return subprocess.run(["git", "ls-files", *patterns], cwd=HERE, capture_output=True, text=True, check=True).stdout.split()


class Image:
    """A root that becomes the image."""

    def __init__(self, root: Path, given: dict[str, str]) -> None:
        self.root, self.given = root, given
        self.user, self.folder = ["0", "0"], "/"
        passed = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
        self.environment = {"PATH": f"{PYTHON}/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/home/ray", **passed}

    def run(self, command: str) -> None:
        """In the root, as the user of the moment."""
        print(f"{':'.join(self.user)} {self.folder}$ {command}", flush=True)
        become = ["setpriv", "--reuid", self.user[0], "--regid", self.user[1], "--clear-groups"]
        shell = ["chroot", str(self.root), *become, "sh", "-euc", f"cd {self.folder}; {command}"]
        subprocess.run(shell, env=self.environment, check=True)

    def base(self) -> None:
        """What the image of Ray brings that these lines build on: the user 1000 in group 100, and its Python."""
        (self.root / "home" / "ray").mkdir(parents=True, exist_ok=True)
        self.run(f"chown 1000:100 /home/ray; setpriv --reuid 1000 --regid 100 --clear-groups python3 -m venv {PYTHON}")

    def copy(self, rest: str) -> None:
        """COPY with an owner."""
        owner = re.match(r"--chown=(\d+):(\d+) ", rest)
        *names, to = rest.split()[bool(owner) :]
        wanted = [name.rstrip("*") for name in names]
        place = self.root / self.folder.lstrip("/") / to
        for file in sent():
            if any(name == "." or file.startswith(name) for name in wanted):
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(HERE / file, place / file, follow_symlinks=False)
        if owner:
            for path in [place, *place.rglob("*")]:
                os.chown(path, int(owner[1]), int(owner[2]), follow_symlinks=False)

    def do(self, word: str, rest: str) -> None:
        """One instruction."""
        if word == "ARG":
            name, _, value = rest.partition("=")
            self.environment[name] = self.given.get(name, value.strip('"'))
        elif word == "ENV":
            for name, value in re.findall(r"(\w+)=(\S*)", rest):
                self.environment[name] = self.environment[value.strip("${}")] if value.startswith("$") else value
        elif word == "USER":
            self.user = [*rest.split(":"), "0"][:2]
        elif word == "WORKDIR":
            self.folder = rest
            (self.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            self.copy(rest)
        elif word == "RUN":
            self.run(rest)
        else:
            raise SystemExit(f"{word}: this script does not know it")


def main() -> None:
    """See the module."""
    root, *arguments = sys.argv[1:]
    image = Image(Path(root).resolve(), dict(argument.split("=", 1) for argument in arguments))
    image.base()
    for word, rest in instructions((HERE / "cluster" / "Dockerfile").read_text()):
        image.do(word, rest)
    image.run("python -m spire_ray --help >/dev/null; python jobs/cpt.py --config configs/spire/cpt.yaml --dry-run")
    subprocess.run(["du", "--summarize", "--human-readable", "--one-file-system", str(image.root)], check=True)


if __name__ == "__main__":
    main()
