"""Digests of model artefacts: of a file its own, of a folder that of the list which `sha256sum` would print.

The artefact is read and hashed, and never loaded: a model file can run code.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path


def of_chunks(chunks: Iterable[bytes]) -> str:
    """`sha256:<hex>` of content that comes in parts."""
    sha256 = hashlib.sha256()
    for chunk in chunks:
        sha256.update(chunk)
    return f"sha256:{sha256.hexdigest()}"


def of_folder(files: Mapping[str, str]) -> str:
    """`sha256:<hex>` of a folder, from the digests of its files by relative path (with `/`)."""
    lines = (f"{digest.removeprefix('sha256:')}  {path}\n" for path, digest in sorted(files.items()))
    return of_chunks(line.encode() for line in lines)


def of_path(path: Path) -> str | None:
    """`sha256:<hex>` of a file, or of a folder without symbolic links; None if there is neither. May raise OSError."""
    if path.is_file():
        with path.open("rb") as file:
            return of_chunks(iter(lambda: file.read(1 << 20), b""))
    if not path.is_dir():
        return None
    found = sorted(each for each in path.rglob("*") if each.is_file() and not each.is_symlink())
    digests = {each.relative_to(path).as_posix(): of_path(each) for each in found}
    return of_folder({name: digest for name, digest in digests.items() if digest is not None})
