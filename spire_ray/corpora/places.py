"""Where the files of a corpus are: on the Hub, in an archive there, or in a copy."""

import fnmatch
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spire_ray.corpora import layouts
from spire_ray.corpora.catalogue import Corpus


@contextmanager
def asked(name: str) -> Iterator[None]:
    """What the Hub says in one line, with what to do. Its client lets errors through of whichever HTTP library it has."""
    try:
        yield
    except Exception as error:
        said = " ".join(str(error).split())
        advice = "accept its terms on its page and set HF_TOKEN" if "gated" in f"{type(error).__name__} {said}".lower() else ""
        raise ValueError(f"{name}: the Hub gave nothing: {said}{f'; {advice}' if advice else ''}") from error


def places(corpus: Corpus, copy: str, split: str) -> Iterator[tuple[str, Callable[[], Path]]]:
    """Name of each file or folder of a split, and a function that brings it here, from the Hub or from a copy.

    Raises ValueError where there is none.
    """
    patterns = corpus.patterns(split)
    if copy:
        root = Path(copy)
        found = [root] if corpus.layout in layouts.FOLDERS else sorted(path for each in patterns for path in root.glob(each))
        if not found:
            raise ValueError(f"local.{corpus.name}={copy}: no {' or '.join(patterns)} there")
        for path in found:
            yield path.name, lambda path=path: path  # type: ignore[misc]
        return
    from huggingface_hub import HfApi, hf_hub_download

    name, _, revision = corpus.hub.partition("@")
    given: dict[str, Any] = {"repo_type": "dataset", "revision": revision or None}

    def bring(file: str) -> Path:
        with asked(name):
            if corpus.layout in layouts.TABLES:
                hf_hub_download(name, layouts.TABLES[corpus.layout](file), **given)
            return Path(hf_hub_download(name, file, **given))

    def bring_all(files: list[str]) -> Path:
        brought = [bring(file) for file in files]
        return brought[0].parents[files[0].count("/")]

    if corpus.archive:
        root = _unpacked(bring(corpus.archive), patterns)
        for path in sorted(path for each in patterns for path in root.glob(each)):
            yield str(path.relative_to(root)), lambda path=path: path  # type: ignore[misc]
        return
    with asked(name):
        listed = HfApi().list_repo_files(name, **given)
    files = sorted({file for each in patterns for file in fnmatch.filter(listed, each)})
    if not files:
        raise ValueError(
            f"{corpus.name}: {corpus.hub} holds no {' or '.join(patterns)}; it holds {', '.join(sorted(listed)[:5])} …"
        )
    if corpus.layout in layouts.FOLDERS:
        yield patterns[0], lambda: bring_all(files)
        return
    for file in files:
        yield file, lambda file=file: bring(file)  # type: ignore[misc]


def _unpacked(archive: Path, patterns: Sequence[str]) -> Path:
    """The members of a tar that are wanted, in a folder beside it."""
    root = archive.with_name(archive.name + ".d")
    with tarfile.open(archive) as tar:
        names = [
            member
            for member in tar.getmembers()
            if any(fnmatch.fnmatch(member.name.removeprefix("./"), each) for each in patterns)
        ]
        for member in names:
            if not (member.isfile() or member.isdir()) or member.name.startswith("/") or ".." in member.name.split("/"):
                raise ValueError(f"{archive}: {member.name}: neither a file nor a folder below the archive")
        # Python 3.11 before its fourth release has no filter, and later ones warn without one
        safely: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(root, names, **safely)
    return root
