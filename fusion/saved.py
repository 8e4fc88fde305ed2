"""The network on disk, as it was built: what an artifact's graph has forgotten, and what building on needs.

A safetensors file beside the artifact, not inside it: it stays with whoever fuses, and is never deployed.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fusion.branch import Branch
from fusion.encoding import PiecewiseLinearEncoding
from fusion.errors import FusionError, disk_faults
from fusion.lowrank.cp import Cp
from fusion.lowrank.form import Dense, Form
from fusion.lowrank.layer import LowRankLayer
from fusion.lowrank.stack_forms import Anchor, Anchored, PerModelSvd
from fusion.lowrank.tensor_train import TensorTrain
from fusion.lowrank.tucker import Tucker
from fusion.network import LAYERS, FusedNetwork, Widths
from fusion.quantize.codebook import Codebook
from fusion.quantize.half import Half
from fusion.quantize.integer import ActivationGrid, IntegerProduct
from fusion.quantize.uniform import UniformGrid
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.teacher import TeacherCard
from fusion.weight import Grid, Weight
from inference.contract import staging

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

_VERSION: Final = 1
_KEY: Final = "playfuse"


def beside(artifact: Path) -> Path:
    """Where the network of an artifact is."""
    return artifact.with_name(f"{artifact.name}.network.safetensors")


@dataclass(frozen=True, slots=True)
class SavedNetwork:
    """A network and how it is carried out.

    Attributes:
        network: as it was exported.
        dense: layers that its graph multiplies out at load.
        branches: teachers that answer for some behaviours in its place.
    """

    network: FusedNetwork
    dense: frozenset[str]
    branches: tuple[Branch, ...] = ()

    @contextmanager
    def saved(self, path: Path) -> Iterator[None]:
        """Write it, to be in its place once the block is through: what the block writes belongs to it, so both are
        there or neither.

        Raises:
            FusionError: the file cannot be written.
        """
        content = self._to_bytes()
        faults = partial(
            disk_faults,
            path,
            expected="a writable place with room for the network",
            fix="Free some space or name another path; nothing half-written was left.",
        )
        with ExitStack() as stack:
            with faults():
                made = stack.enter_context(staging.beside(path)) / path.name
                staging.write_flushed(made, content)
            yield
            with faults():
                made.replace(path)

    def _to_bytes(self) -> bytes:
        encoding = self.network.encoding
        arrays: dict[str, NDArray[Any]] = {"encoding.medians": encoding.medians, "encoding.knots": encoding.knots}
        grids = {}
        for name, weight in _weights(self.network):
            arrays[f"{name}.array"] = weight.array.detach().numpy()
            if weight.mask is not None:
                arrays[f"{name}.mask"] = weight.mask.numpy()
            if weight.grid is not None:
                grids[name], kept = _grid_out(weight.grid)
                arrays |= {f"{name}.grid.{key}": value for key, value in kept.items()}
        for name in LAYERS:
            products = self.network.layer(name).integer or ()
            arrays |= {f"{name}.steps{index}": product.steps.numpy() for index, product in enumerate(products)}
        layers = {name: _about(self.network.layer(name)) for name in LAYERS}
        for index, branch in enumerate(self.branches):
            arrays[f"branch{index}.model"] = np.frombuffer(branch.teacher.model, dtype=np.uint8)
        described = {
            "version": _VERSION,
            "features": encoding.features,
            "dense": sorted(self.dense),
            "layers": layers,
            "grids": grids,
            "branches": [
                {"card": branch.teacher.card.model_dump(mode="json"), "behaviours": branch.behaviours}
                for branch in self.branches
            ],
        }
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        return save(contiguous, {_KEY: json.dumps(described)})

    @classmethod
    def load(cls, path: Path) -> SavedNetwork:
        """Read it back: it answers with the same bits.

        Raises:
            FusionError: there is no such file, or it holds no network of this version.
        """
        try:
            with safe_open(path, framework="np") as file:
                described = json.loads((file.metadata() or {}).get(_KEY, "{}"))
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError, ValueError) as error:
            raise FusionError(
                str(path),
                got=f"no readable network ({error})",
                expected="what `playfuse fuse` writes beside an artifact",
            ) from error
        if described.get("version") != _VERSION:
            raise FusionError(
                str(path), got=f"version {described.get('version')}", expected=f"{_VERSION}", fix="Fuse again."
            )
        return cls(_network(described, arrays), frozenset(described["dense"]), _branches_in(described, arrays))


def _network(described: Mapping[str, Any], arrays: Arrays) -> FusedNetwork:
    medians, knots = arrays["encoding.medians"], arrays["encoding.knots"]
    encoding = PiecewiseLinearEncoding(tuple(described["features"]), medians, knots)
    behaviours, units = arrays["readout.array"].shape
    network = FusedNetwork(encoding, behaviours, Widths(1, 1, units), 0)
    for name, about in described["layers"].items():
        stored = {key: array.astype(np.float64) for key, array in _below(f"{name}.arrays.", arrays).items()}
        own = {key.removesuffix(".array"): array for key, array in stored.items() if key.endswith(".array")}
        form = _form(about["form"], about["modes"], own)
        layer = LowRankLayer(form, out_modes=about["out_modes"], bias=arrays[f"{name}.bias.array"])
        if "integer" in about:
            layer.integer = tuple(
                _product_in(kept, torch.from_numpy(arrays[f"{name}.steps{index}"]))
                for index, kept in enumerate(about["integer"])
            )
        network.replace(name, layer)
    for name, weight in _weights(network):
        weight.array.data = torch.from_numpy(arrays[f"{name}.array"])
        if f"{name}.mask" in arrays:
            weight.mask = torch.from_numpy(arrays[f"{name}.mask"])
        if name in described["grids"]:
            weight.grid = _grid_in(described["grids"][name], _below(f"{name}.grid.", arrays))
    return network


def _branches_in(described: Mapping[str, Any], arrays: Arrays) -> tuple[Branch, ...]:
    """The branches; files from before there were any have none."""
    return tuple(
        Branch(
            OnnxTeacher(arrays[f"branch{index}.model"].tobytes(), TeacherCard.model_validate(about["card"])),
            tuple(about["behaviours"]),
        )
        for index, about in enumerate(described.get("branches", ()))
    )


def _weights(network: FusedNetwork) -> Iterator[tuple[str, Weight]]:
    return ((name, module) for name, module in network.named_modules() if isinstance(module, Weight))


def _below(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def _about(layer: LowRankLayer) -> dict[str, Any]:
    about = {"form": type(layer.form()).__name__, "modes": len(layer.shape), "out_modes": layer.out_modes}
    if layer.integer is not None:
        about["integer"] = [_product_out(product) for product in layer.integer]
    return about


def _product_out(product: IntegerProduct) -> dict[str, Any]:
    outputs = None if product.outputs is None else _activation_out(product.outputs)
    return {"inputs": _activation_out(product.inputs), "largest": product.largest, "outputs": outputs}


def _product_in(about: Mapping[str, Any], steps: torch.Tensor) -> IntegerProduct:
    outputs = None if about["outputs"] is None else _activation_in(about["outputs"])
    return IntegerProduct(_activation_in(about["inputs"]), steps, about["largest"], outputs)


def _activation_out(grid: ActivationGrid) -> dict[str, float]:
    return {"step": float(grid.step), "zero": grid.zero}


def _activation_in(about: Mapping[str, Any]) -> ActivationGrid:
    return ActivationGrid(torch.tensor(about["step"], dtype=torch.float32), about["zero"])


def _form(kind: str, modes: int, arrays: Arrays) -> Form:
    if kind == "Dense":
        return Dense(arrays["tensor"])
    if kind == "Tucker":
        return Tucker(arrays["core"], tuple(arrays.get(f"factor{mode}") for mode in range(modes)))
    if kind == "PerModelSvd":
        return PerModelSvd(arrays["left"], arrays["right"])
    if kind == "Anchored":
        return Anchored(Anchor(arrays["matrix"]), PerModelSvd(arrays["left"], arrays["right"]))
    if kind == "Cp":
        return Cp(tuple(arrays[f"factor{mode}"] for mode in range(modes)))
    return TensorTrain(tuple(arrays[f"core{mode}"] for mode in range(modes)))


def _grid_out(grid: Grid) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    if isinstance(grid, UniformGrid):
        return {"kind": "uniform", "levels": grid.levels, "bits": grid.bits}, {"low": grid.low, "step": grid.step}
    if isinstance(grid, Codebook):
        return {"kind": "codebook", "bits": grid.bits}, {"values": grid.values}
    return {"kind": "float16"}, {}


def _grid_in(about: Mapping[str, Any], arrays: Arrays) -> Grid:
    if about["kind"] == "uniform":
        return UniformGrid(arrays["low"], arrays["step"], about["levels"], about["bits"])
    if about["kind"] == "codebook":
        return Codebook(arrays["values"], about["bits"])
    return Half()
