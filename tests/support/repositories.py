"""A small repository for tests of what controls one: artifacts in folders, served by name, one version each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference.models import ModelState, ServedModel
from inference.refusals import UnknownModel
from inference.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class FolderModels:
    """`Models` and `ModelControl` at once, over `folder/<name>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._served: dict[str, ServedModel] = {}
        self.generation = 0

    def find(self, name: str = "", version: str = "", routing_key: str = "") -> ServedModel:
        model = self._served.get(name)
        if model is None or version not in ("", model.version):
            msg = f"got model {name} version {version or 'any'}, expected one of {sorted(self._served)}"
            raise UnknownModel(msg)
        return model

    def is_settled(self, name: str = "", version: str = "") -> bool:
        return True

    def served(self) -> Sequence[ServedModel]:
        return tuple(self._served.values())

    def index(self) -> Sequence[ModelState]:
        return [
            ModelState(path.name, "1", path.name in self._served, "" if path.name in self._served else "not loaded")
            for path in sorted(self._folder.iterdir())
        ]

    def load(self, name: str, version: str = "") -> None:
        if not (self._folder / name).is_dir():
            msg = f"got model {name}, expected one of {[state.name for state in self.index()]}"
            raise UnknownModel(msg)
        model = ServedModel.load(self._folder / name, Limits())
        self._served = {**self._served, name: model}
        self.generation += 1

    def unload(self, name: str) -> None:
        self.find(name)
        self._served = {other: model for other, model in self._served.items() if other != name}
        self.generation += 1
