"""The report of configs/release/verify.yaml: figures of the published SpireFull beside those that others measured of it."""

from spire_ray.core import storage
from spire_ray.evaluation import results
from spire_ray.recipes.report import Written

PUBLISHED = {
    "covost2-de": ("CoVoST 2 en-de, BLEU", "bleu", 18.30),
    "covost2-zh": ("CoVoST 2 en-zh, BLEU", "bleu", 18.40),
    "fleurs-de": ("FLEURS en-de, chrF", "chrf", 57.10),
}
"""Folder → title, metric, figure: SpireFull in the benchmark *Hearing to Translate*, by transformers, bfloat16, five beams."""
TOLERANCE = 0.5


def write(root: str) -> Written:
    """`release.md`, and a line that says whether every figure is within 0.5 of the published one."""
    lines, far = ["| test set | here | published | difference |", "|---|---|---|---|"], []
    for folder, (title, metric, published) in PUBLISHED.items():
        said = storage.read_json(storage.join(root, folder, results.FILE))
        [value] = [each["value"] for each in said["figures"] if (each["task"], each["metric"]) == ("st_direct", metric)]
        lines.append(f"| {title} | {value:.2f} | {published:.2f} | {value - published:+.2f} |")
        far += [title] if abs(value - published) > TOLERANCE else []
    verdict = (
        f"Differs by more than {TOLERANCE}: {', '.join(far)}."
        if far
        else f"Every figure is within {TOLERANCE} of the published one."
    )
    text = "\n".join([*lines, "", verdict])
    storage.write_bytes(storage.join(root, "release.md"), f"{text}\n".encode())
    return Written(text, ("release.md",))
