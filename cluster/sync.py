"""Copy the pods of ray-cluster.yaml into every RayJob and the RayService.

A manifest keeps all that stands above its cluster, and the names of its worker groups. Run after each edit of
ray-cluster.yaml: `python cluster/sync.py`. To give a job other groups, write `- groupName: X` lines and run it.
"""

import re
from pathlib import Path
from textwrap import indent

FOLDER = Path(__file__).parent


def synced(manifest: str, cluster: str) -> str:
    """The text of a RayJob or RayService with the pods of the text of a RayCluster."""
    common, *groups = re.split(r"^(?=    - groupName: )", cluster.split("\nspec:\n")[1], flags=re.MULTILINE)
    pods = {group.split(maxsplit=3)[2]: group for group in groups}
    above, opening, below = re.split(r"^(  rayCluster(?:Spec|Config):.*\n)", manifest, flags=re.MULTILINE)
    names = re.findall(r"^ *- groupName: (\S+)", below, flags=re.MULTILINE)
    return above + opening + indent(common + "".join(pods[name] for name in names), "  ")


if __name__ == "__main__":
    cluster = (FOLDER / "ray-cluster.yaml").read_text()
    for path in sorted([*FOLDER.glob("ray-job.*.yaml"), FOLDER / "ray-service.yaml"]):
        path.write_text(synced(path.read_text(), cluster))
