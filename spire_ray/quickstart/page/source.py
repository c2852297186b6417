"""What the page of a report is made from."""

from dataclasses import dataclass
from typing import Any

from spire_ray.core import storage


@dataclass(frozen=True)
class Source:
    """What the page is made from."""

    root: str
    report: dict[str, Any]
    recipe: dict[str, Any]
    records: dict[str, dict[str, Any]]

    @property
    def target(self) -> str:
        """ISO 639-1 code of the language that is translated into."""
        return str(self.records["evaluate"]["resolved"]["target_language"])

    def facts(self, folder: str) -> dict[str, Any]:
        """Return what a stage says it made."""
        return dict(self.records[folder]["facts"])

    def json(self, *parts: str) -> Any:
        """Read a JSON file below the root."""
        return storage.read_json(storage.join(self.root, *parts))
