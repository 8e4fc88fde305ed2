"""Where models lie: `ROOT/<name>/<version>/`, each folder an artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference import engine as engines
from inference.contract.errors import ArtifactError
from inference.refusals import UnknownModel
from inference.repository.versions import order

if TYPE_CHECKING:
    from pathlib import Path

    from inference.contract.artifact import Artifact
    from inference.engine import Engine


class Layout:
    """The folders, looked at anew each time.

    What begins with a dot is none of ours (a copy under way, the state file). Copy a version to such a name and rename
    it when it is whole.

    Args:
        root: holds a folder per model.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Models, by name.

        Raises:
            ArtifactError: the root cannot be listed.
        """
        return sorted(_folders(self.root))

    def versions(self, name: str) -> list[str]:
        """Versions of a model, the newest first; none where there is no such model.

        Raises:
            ArtifactError: its folder cannot be listed.
        """
        # Never join what a caller sent to a path: it is looked up among what is there.
        return sorted(_folders(self.root / name), key=order, reverse=True) if name in self.names() else []

    def newest(self, name: str) -> str:
        """The newest version of a model, good or not.

        Raises:
            UnknownModel: there is none.
            ArtifactError: its folder cannot be listed.
        """
        versions = self.versions(name)
        if not versions:
            msg = f"got model {name!r}, expected one of {', '.join(self.names()) or 'none'} in {self.root}"
            raise UnknownModel(msg)
        return versions[0]

    def read(self, name: str, version: str) -> tuple[Artifact, Engine]:
        """Read a version, verify all of it, check its answers, warm it up.

        Raises:
            UnknownModel: there is no such folder.
            ArtifactError: it must not be served: damaged, or another model or version than its folders say.
        """
        newest = self.newest(name)
        versions = self.versions(name)
        if version not in versions:
            msg = f"got model {name} version {version!r}, expected one of {', '.join(versions) or newest}"
            raise UnknownModel(msg)
        path = self.root / name / version
        artifact, engine = engines.load(path)
        manifest = artifact.manifest
        if (manifest.name, manifest.version) != (name, version):
            raise ArtifactError(
                str(path),
                got=f"model {manifest.name} version {manifest.version} in its manifest",
                expected=f"model {name} version {version}, as its folders say",
                fix=f"Move it to {self.root / manifest.name / manifest.version}, or fuse it under the other name.",
            )
        return artifact, engine


def _folders(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.iterdir() if not entry.name.startswith(".") and _is_folder(entry)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ArtifactError(
            str(path), got=error.strerror or str(error), expected="a folder that can be listed"
        ) from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a link to where nobody may look: reading it tells why
        return True
