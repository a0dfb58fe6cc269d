"""torch's SGD without torch's compiler: the same steps, and nothing imported for them."""

from __future__ import annotations

import subprocess
import sys

import torch

from cleanlab_lite.train.descent import SGD
from cleanlab_lite.train.strategies import Learner

TRAINING = """
import sys, torch
import cleanlab_lite.train.timing
from cleanlab_lite.train.models import build_proxy
from cleanlab_lite.train.strategies import Learner
build_proxy("cnn", torch.randn(2, 3, 32, 32), 2, seed=0)
vectors = torch.randn(4, 3)
network = build_proxy("mlp", vectors, 2, seed=0)
learner = Learner(network, steps=9, learning_rate=0.1, weight_decay=0.0, autocast=None)
learner.update(learner.logits(vectors).square().mean())
state = learner._optimizer.state_dict()
learner._optimizer.load_state_dict(state)
print(*sorted({"torch._dynamo", "torchvision"} & set(sys.modules)))
"""


def test_the_steps_are_those_of_torch():
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4).clone()) for _ in range(2)]
    options = {"lr": 0.3, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}
    for weight, optimizer in zip(weights, (SGD, torch.optim.SGD), strict=True):
        steps = optimizer([weight], **options)
        for number in range(5):
            steps.zero_grad()
            (weight * (number + 1)).square().sum().backward()
            steps.step()
    assert torch.equal(*weights)


def test_training_and_its_forecast_import_neither_the_compiler_nor_torchvision():
    """torchvision is for its own networks alone."""
    found = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_a_first_gradient_that_overflows_in_half_precision_leaves_no_trace(monkeypatch):
    """The fused step makes momenta of memory as it is, and writes nothing where it skips a step."""
    monkeypatch.setattr(torch, "empty_like", lambda like, **options: torch.full_like(like, torch.nan, **options))
    inputs = torch.linspace(-1, 1, 12).reshape(4, 3)
    learners = []
    for overflows in (False, True):
        torch.manual_seed(0)
        network = torch.nn.Linear(3, 2)
        learner = Learner(network, steps=9, learning_rate=0.1, weight_decay=0.0, autocast=torch.float16)
        if overflows:
            learner.update((network(inputs) * torch.inf).sum())
        learner.update(network(inputs).square().mean())
        learners.append(network)
    for plain, after in zip(*(network.parameters() for network in learners), strict=True):
        assert torch.equal(plain, after)
