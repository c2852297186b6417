"""The example configurations, which travel with the package: recipes, DeepSpeed files, the data catalogue, the languages."""

import shutil
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "configs"
"""In a checkout a link to `configs/`."""
_SHARED = ("deepspeed", "shapes", "data", "protocols", "hardware")
"""What the recipes refer to."""


def recipes() -> dict[str, str]:
    """Folders of configurations and the first comment of each one's recipes."""
    folders = sorted(path for path in FOLDER.iterdir() if path.is_dir() and path.name not in _SHARED)
    return {folder.name: ", ".join(sorted(file.name for file in _recipes(folder))) for folder in folders}


def write(recipe: str, folder: Path) -> list[Path]:
    """Write a folder of configurations, and what they refer to, below `folder/configs`; the files that are new.

    Raises ValueError for an unknown one, and for a file that is there with other content.
    """
    if recipe not in recipes():
        raise ValueError(f"recipe={recipe}: known are {', '.join(recipes())}")
    files = [file for name in (recipe, *_SHARED) for file in sorted((FOLDER / name).rglob("*")) if file.is_file()]
    targets = {file: folder / "configs" / file.relative_to(FOLDER) for file in files}
    for file, target in targets.items():
        if target.exists() and target.read_bytes() != file.read_bytes():
            raise ValueError(f"{target}: is there with other content; choose another folder, or move it away")
    new = {file: target for file, target in targets.items() if not target.exists()}
    for file, target in new.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return list(new.values())


def _recipes(folder: Path) -> list[Path]:
    return [file for file in folder.glob("*.yaml") if "stage: run" in file.read_text().splitlines()]
