"""The low-rank GRU: the same as torch's, through time and in the graph; judged and pruned by its roll-out."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from fusion.lowrank import cp, tucker
from fusion.lowrank.form import Form
from fusion.lowrank.metric import Metric
from fusion.lowrank.recurrent import LowRankGru, rollout_error
from fusion.lowrank.refit import Drift, refit
from fusion.lowrank.sensitivity import measure
from fusion.onnx_graph import Graph
from fusion.quantize.uniform import Uniform
from fusion.teachers.gru import GruEncoder
from fusion.weight import Weight
from inference.contract.features import SEQUENCE_CHANNELS, SEQUENCE_LENGTH
from tests.support.sequences import random_sequences

CHANNELS, WIDTH = len(SEQUENCE_CHANNELS), 12
LENGTHS = [1, 2, 9, 17, 31, 32]


def _encoder(seed: int = 0) -> GruEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GruEncoder(CHANNELS, WIDTH)


def _small(seed: int = 0) -> LowRankGru:
    gru = LowRankGru.from_encoder(_encoder(seed))
    read, recur = gru.read.tensor(), gru.recur.tensor()
    gru.replace("read", gru.read.in_form(tucker.decompose(read, (None, 6, 5), Metric.plain(3))))
    gru.replace("recur", gru.recur.in_form(cp.decompose(recur, 9, Metric.plain(3))))
    return gru


def _graph(gru: LowRankGru) -> onnxruntime.InferenceSession:
    graph = Graph("test")
    value = gru.add_to(graph, graph.input("x", (SEQUENCE_LENGTH, CHANNELS)))
    return onnxruntime.InferenceSession(graph.serialise(value, "y", gru.width), providers=["CPUExecutionProvider"])


def test_dense_it_is_the_gru_it_came_from_fused_and_unrolled() -> None:
    encoder, sequences = _encoder(), torch.from_numpy(random_sequences(LENGTHS))
    gru = LowRankGru.from_encoder(encoder)
    present = sequences[..., 0] > 0
    torch.testing.assert_close(gru(sequences)[present], encoder(sequences)[present], atol=1e-6, rtol=1e-5)
    with gru.unrolled():
        torch.testing.assert_close(gru(sequences)[present], encoder(sequences)[present], atol=1e-6, rtol=1e-5)


def test_factors_in_the_graph_give_what_torch_gives() -> None:
    gru, sequences = _small(), random_sequences(LENGTHS)
    expected = gru(torch.from_numpy(sequences))[:, -1].detach().numpy()
    np.testing.assert_allclose(_graph(gru).run(["y"], {"x": sequences})[0], expected, atol=1e-5)


def test_rounded_factors_in_the_graph_give_what_torch_gives() -> None:
    gru, sequences = _small(), random_sequences(LENGTHS)
    plain = gru(torch.from_numpy(sequences))[:, -1].detach().numpy()
    for weight in (module for module in gru.modules() if isinstance(module, Weight)):
        weight.grid = Uniform(bits=4).fit(weight.numpy())
    rounded = gru(torch.from_numpy(sequences))[:, -1].detach().numpy()
    assert np.abs(rounded - plain).max() > 1e-3
    np.testing.assert_allclose(_graph(gru).run(["y"], {"x": sequences})[0], rounded, atol=1e-5)


def test_every_array_is_trained_through_the_roll_out() -> None:
    gru, sequences = _small(), torch.from_numpy(random_sequences(LENGTHS))
    gru(sequences)[:, -1].sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in gru.parameters())


def test_gradients_of_the_fused_and_the_unrolled_pass_agree() -> None:
    sequences = torch.from_numpy(random_sequences(LENGTHS))
    found = []
    for unrolled in (False, True):
        gru = _small()
        if unrolled:
            with gru.unrolled():
                gru(sequences)[:, -1].square().sum().backward()
        else:
            gru(sequences)[:, -1].square().sum().backward()
        found.append([parameter.grad for parameter in gru.parameters()])
    for fused, stepwise in zip(*found, strict=True):
        torch.testing.assert_close(fused, stepwise, atol=1e-4, rtol=1e-4)


def test_statistics_see_every_step_that_there_is_and_no_padding() -> None:
    gru, sequences = LowRankGru.from_encoder(_encoder()), torch.from_numpy(random_sequences([2, 5]))
    reader = torch.linspace(-1.0, 1.0, WIDTH)[:, None]
    with gru.unrolled():
        found = measure(gru.layers(), lambda: gru(sequences)[:, -1] @ reader)
    sessions = torch.cat([sequences[0, -2:], sequences[1, -5:]]).double().numpy()
    np.testing.assert_allclose(found["read"].inputs, sessions.T @ sessions / 7, atol=1e-5)
    np.testing.assert_allclose(found["read"].mean, sessions.mean(axis=0), atol=1e-6)
    # Five of the seven states that are read are not the start.
    states = gru(sequences)
    before = torch.cat([states[0, -2:-1], states[1, -5:-1]]).detach().double().numpy()
    np.testing.assert_allclose(found["recur"].inputs, before.T @ before / 7, atol=1e-5)
    assert np.trace(found["recur"].gradients) > 0


@pytest.mark.parametrize("seed", range(3))
def test_metric_and_refit_through_time_beat_the_plain_decomposition_on_the_roll_out(seed: int) -> None:
    gru = LowRankGru.from_encoder(_encoder(seed))
    draw = np.random.default_rng(seed)
    sequences = random_sequences(draw.integers(1, 33, size=256).tolist())
    mixed = draw.normal(size=sequences[..., 1:].shape) @ draw.normal(size=(CHANNELS - 1, CHANNELS - 1))
    sequences[..., 1:] = np.where(sequences[..., :1] > 0, mixed, 0.0)
    reader = torch.from_numpy(draw.normal(size=(WIDTH, 2)).astype(np.float32))

    def links(encoder: LowRankGru) -> torch.Tensor:
        states: torch.Tensor = encoder(torch.from_numpy(sequences))
        return states[:, -1] @ reader

    with gru.unrolled():
        statistics = measure(gru.layers(), lambda: links(gru))

    def lost(*, metric: bool, sweeps: int) -> float:
        small = LowRankGru.from_encoder(_encoder(seed))
        for name, layer in gru.layers().items():
            found, tensor, bias = statistics[name], layer.tensor(), layer.bias.numpy()
            chosen = found.metric(layer.shape, 2) if metric else Metric.plain(3)
            form: Form = tucker.decompose(tensor, (None, 6, 4), chosen)
            if sweeps:
                form, _ = refit(form, tensor, found, 2, sweeps)
                bias = Drift.none(found).bias(bias, tensor, form.to_tensor())
            small.replace(name, layer.in_form(form, bias=bias))
        with torch.no_grad():
            return float((links(small) - links(gru)).square().mean())

    plain, through_time = lost(metric=False, sweeps=0), lost(metric=True, sweeps=0)
    assert through_time < 0.5 * plain
    assert lost(metric=True, sweeps=2) < 0.9 * through_time


def test_roll_out_error_is_none_for_the_same_and_grows_as_ranks_fall() -> None:
    encoder, sequences = _encoder(), random_sequences(LENGTHS)
    errors = []
    for rank in (12, 8, 4, 1):
        gru = LowRankGru.from_encoder(encoder)
        form = tucker.decompose(gru.recur.tensor(), (None, rank, rank), Metric.plain(3))
        gru.replace("recur", gru.recur.in_form(form))
        errors.append(rollout_error(encoder, gru, sequences))
    assert errors[0] < 1e-5
    assert errors == sorted(errors)


@pytest.mark.parametrize("low_rank", [False, True])
def test_a_unit_that_nothing_reads_can_go_unnoticed(low_rank: bool) -> None:
    gru = _small() if low_rank else LowRankGru.from_encoder(_encoder())
    sequences = torch.from_numpy(random_sequences(LENGTHS))
    reader = Weight(np.random.default_rng(0).normal(size=(3, WIDTH)))
    silent = np.array([0, 5, 11])
    with torch.no_grad():
        ((weight, axis),) = gru.recur.mode_slices(2)
        weight.array.index_fill_(axis, torch.from_numpy(silent), 0.0)
        reader.array[:, silent] = 0.0
    before = gru(sequences)[:, -1] @ reader().T
    units = gru.units([(reader, 1)])
    assert units.count == WIDTH
    units.keep(np.setdiff1d(np.arange(WIDTH), silent))
    gru.replan()
    assert gru.width == WIDTH - 3
    torch.testing.assert_close(gru(sequences)[:, -1] @ reader().T, before, atol=1e-5, rtol=1e-4)
    got = _graph(gru).run(["y"], {"x": sequences.numpy()})[0]
    np.testing.assert_allclose(got, gru(sequences)[:, -1].detach().numpy(), atol=1e-5)
