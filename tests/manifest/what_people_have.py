"""Files as people have them."""

import io
import json
import tarfile

import numpy as np
import soundfile

from spire_ray.audio import decode
from spire_ray.manifest import recording

DRAW = np.random.default_rng(0)


def clip(path, seconds=0.5, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = DRAW.standard_normal((round(seconds * 16_000), channels)).astype(np.float32) / 8
    soundfile.write(path, samples, 16_000, subtype="FLOAT" if path.suffix == ".wav" else None)
    return samples


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def heard(row):
    return decode.load(recording.source(row["audio"]), *recording.part(row))


def tar_of(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def wav(seconds):
    buffer = io.BytesIO()
    soundfile.write(buffer, DRAW.standard_normal(round(seconds * 16_000)) / 8, 16_000, format="WAV")
    return buffer.getvalue()
