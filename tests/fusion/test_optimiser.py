"""AdamW without the compiler is torch's own, to the bit."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from torch import nn

from fusion.optimiser import AdamW


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_it_takes_the_steps_of_torch(weight_decay: float) -> None:
    torch.manual_seed(0)
    ours = nn.ModuleList([nn.Linear(5, 7), nn.Linear(7, 2), nn.Linear(3, 3)])
    theirs = deepcopy(ours)
    optimiser = torch.optim.AdamW(theirs.parameters(), lr=1.0, weight_decay=weight_decay)
    own = AdamW(ours.parameters(), weight_decay)
    for step in range(20):
        inputs, wanted, rate = torch.randn(8, 5), torch.randn(8, 2), 0.01 * (step + 1)
        for network in (ours, theirs):
            # The last layer has no part in it, so it gets no gradient and, unlike with gradient 0, no decay.
            nn.functional.mse_loss(network[1](network[0](inputs).relu()), wanted).backward()  # type: ignore[no-untyped-call, unused-ignore]
        own.step(rate)
        own.zero_grad()
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
        optimiser.zero_grad()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.grad is None


def test_training_needs_no_compiler() -> None:
    program = """
import sys
import torch
from fusion.optimiser import AdamW
weight = torch.nn.Parameter(torch.ones(3))
weight.square().sum().backward()
torch.nn.utils.clip_grad_norm_([weight], 1.0)
AdamW([weight], 0.0).step(0.1)
assert (weight < 1).all()
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
