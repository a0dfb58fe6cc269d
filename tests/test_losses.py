"""Every loss: the reference values of its paper's formula, and what all of them have in common.

The fixed batch has 4 rows of 4 classes; row 1 is the mislabelled one. References are float64, natural logarithm.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cleanlab_lite.errors import ConfigError, EvidenceError
from cleanlab_lite.train.losses import LOSSES
from cleanlab_lite.train.losses.asymmetric import ael_ratio, agce_ratio, aul_ratio

Z = torch.tensor(
    [[2.0, 1.0, 0.1, -1.0], [0.5, 2.5, -0.5, 0.0], [-1.0, 0.0, 1.5, 3.0], [0.2, 0.1, 0.0, -0.1]], dtype=torch.float64
)
Y = torch.tensor([0, 2, 3, 1])
I = torch.arange(4)  # noqa: E741
P = torch.softmax(Z, dim=1)
P_Y = P[I, Y]
TRUNCATED_AT_HALF = 0.549183  # (1 - .5^.7) / .7

REQUIRED: dict[str, dict[str, Any]] = {"group_label_smoothing": {"high_noise": [1]}}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, REQUIRED.get(name, {})) for name in LOSSES.names()),
    ("gce", {"q": 1e-5}),
    ("focal", {"gamma": 0.5}),
    ("agce", {"a": 1e-5, "q": 0.5}),
    ("aul", {"a": 1.001, "q": 0.1}),
    ("sparse", {"normalize": False, "tau": 0.1}),
    ("sparse", {"base": "truncated_gce", "base_options": {"k": 0.2}}),
]


def each(variants: list[tuple[str, dict[str, Any]]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("name", "hp"), variants, ids=[" ".join([name, *hp]) for name, hp in variants])


every_loss = each(VARIANTS)


def build(name: str, *, classes: int = 4, samples: int = 4, **hp: Any) -> Any:
    return LOSSES.get(name).function(samples, classes, **hp)


def rows(name: str, **hp: Any) -> Tensor:
    return build(name, **hp)(Z, Y, I)


def gradient(loss: Any, logits: Tensor, targets: Tensor = Y, index: Tensor = I) -> Tensor:
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, targets, index).sum(), leaf)[0]


def over_labels(loss: Any, logits: Tensor) -> Tensor:
    """(b, k): the loss of each row under each label."""
    b, k = logits.shape
    return torch.stack([loss(logits, torch.full((b,), label), torch.arange(b)) for label in range(k)], dim=1)


def random_batch(k: int, b: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(b, k, generator=generator, dtype=torch.float64)
    return logits, torch.randint(k, (b,), generator=generator), torch.randperm(b, generator=generator)


def near(found: Tensor, expected: Any, atol: float = 1e-6) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), atol=atol, rtol=0)


# ---- reference values ----


def test_names() -> None:
    expected = {"ce", "mae", "gce", "truncated_gce", "sce", "nce", "agce", "aul", "ael", "focal", "polysoft"}
    expected |= {"nfl", "ngce", "nfl_mae", "nfl_rce"}
    expected |= {"nce_mae", "nce_rce", "nce_agce", "nce_aul", "nce_ael", "label_smoothing", "group_label_smoothing"}
    expected |= {"elr", "bootstrap_soft", "bootstrap_hard", "sparse"}
    assert set(LOSSES.names()) == expected


@pytest.mark.parametrize(
    ("name", "hp", "expected"),
    [
        ("ce", {}, [0.449313, 3.236816, 0.255597, 1.342536]),
        ("mae", {}, [0.361934, 0.960711, 0.225546, 0.738817]),
        ("gce", {}, [0.385514, 1.280357, 0.234037, 0.870406]),
        ("truncated_gce", {}, [0.385514, TRUNCATED_AT_HALF, 0.234037, TRUNCATED_AT_HALF]),
        ("sce", {"alpha": 0, "beta": 1}, [3.333532, 8.848477, 2.077359, 6.804760]),
        ("nce", {}, [0.058373, 0.383179, 0.026842, 0.241024]),
        ("nfl", {}, [0.037718, 0.394502, 0.013287, 0.238905]),
        ("agce", {}, [0.315134, 0.935350, 0.192539, 0.685913]),
        ("bootstrap_hard", {}, [0.449313, 2.636816, 0.255597, 1.322536]),
        ("polysoft", {"lam": 2, "d": 3}, [0.423043, 1.333333, 0.247248, 1.082028]),
        ("sparse", {"lam": 0}, [0.554476, 2.687657, 0.534249, 1.360946]),
        ("sparse", {"lam": 0, "tau": 0.1, "normalize": False}, [0.000045, 30.0, 0.0, 1.440190]),
    ],
)
def test_reference_rows(name: str, hp: dict[str, Any], expected: list[float]) -> None:
    near(rows(name, **hp), expected)


@pytest.mark.parametrize(
    ("name", "hp", "expected"),
    [
        ("ce", {}, 1.321065),
        ("mae", {}, 0.571752),
        ("mae", {"scale": 2}, 1.143504),
        ("gce", {"q": 1e-4}, 1.320909),
        ("gce", {"q": 0.01}, 1.305533),
        ("gce", {"q": 0.3}, 0.960632),
        ("gce", {"q": 0.5}, 0.805952),
        ("gce", {}, 0.692579),
        ("gce", {"q": 1}, 0.571752),
        ("truncated_gce", {}, 0.429479),
        ("sce", {"alpha": 0, "beta": 1}, 5.266032),
        ("sce", {"alpha": 0, "beta": 1, "A": -4}, 2.287009),
        ("sce", {}, 5.398138),
        ("sce", {"alpha": 6, "beta": 0.1}, 8.452996),
        ("sce", {"A": -4}, 2.419115),
        ("nce", {}, 0.177354),
        ("nfl", {}, 0.171103),
        ("nfl", {"gamma": 0}, 0.177354),
        ("ngce", {"q": 0.7}, 0.185243),
        ("ngce", {"q": 1}, 0.190584),
        ("nfl_mae", {}, 0.171103 + 0.571752),
        ("nfl_rce", {}, 0.171103 + 5.266032),
        ("nce_mae", {}, 0.749107),
        ("nce_rce", {}, 5.443386),
        ("nce_agce", {}, 6.069050),
        ("nce_aul", {}, 5.617351),
        ("nce_ael", {}, 3.855334),
        ("focal", {"gamma": 0.5}, 1.179565),
        ("agce", {}, 0.532234),
        ("agce", {"a": 4, "q": 0.2}, 0.167902),
        ("agce", {"a": 6, "q": 1.5}, 1.472924),
        ("agce", {"a": 1.8, "q": 3}, 3.439464),
        ("agce", {"a": 1e-5, "q": 0.5}, 0.805939),
        ("aul", {}, 13.547407),
        ("aul", {"a": 3, "q": 0.1}, 0.266497),
        ("aul", {"a": 6.3, "q": 1.5}, 1.359999),
        ("aul", {"a": 6, "q": 3}, 16.469565),
        ("ael", {}, 0.848389),
        ("ael", {"a": 3.5}, 0.887944),
        ("ael", {"a": 5}, 0.919495),
        ("ael", {"a": 1.5}, 0.766147),
        ("label_smoothing", {}, 1.384190),
        ("label_smoothing", {"eps": 0.15}, 1.415753),
        ("bootstrap_soft", {}, 1.301989),
        ("bootstrap_hard", {}, 1.166065),
        ("polysoft", {"lam": 2, "d": 3}, 0.771413),
        ("elr", {}, 0.829886),
        ("sparse", {"lam": 0}, 1.284332),
        ("sparse", {"lam": 0, "tau": 0.1, "normalize": False}, 7.860059),
    ],
)
def test_reference_means(name: str, hp: dict[str, Any], expected: float) -> None:
    near(rows(name, **hp).mean(), expected)


@pytest.mark.parametrize(
    ("hp", "expected"),
    [
        ({"tau": 0.1, "normalize": False, "p": 0.1}, [1.766926, 1.598579, 1.622183, 3.315195]),
        ({"tau": 0.5, "p": 0.1}, 3.363066),
        ({"tau": 0.5, "p": 0.01}, 3.929810),
    ],
)
def test_reference_sparse_penalty(hp: dict[str, Any], expected: Any) -> None:
    penalty = rows("sparse", lam=1, **hp) - rows("sparse", lam=0, **hp)
    near(penalty if isinstance(expected, list) else penalty.mean(), expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ce", [0.106798, 0.789137, -0.960711, 0.064776]),
        ("gce", [0.011080, 0.081873, -0.099674, 0.006721]),
        ("mae", [0.004196, 0.031004, -0.037745, 0.002545]),
        ("nce", [0.038626, -0.004405, -0.075498, 0.041276]),  # pushes the wrong top class up: it under-fits alone
        ("agce", [0.005018, 0.037080, -0.045142, 0.003044]),
    ],
)
def test_reference_gradient_of_the_mislabelled_row(name: str, expected: list[float]) -> None:
    near(gradient(build(name), Z)[1], expected)


@pytest.mark.parametrize(
    ("name", "hp", "weight"),
    [
        ("ce", {}, torch.ones(4)),
        ("mae", {"scale": 2}, 2 * P_Y),
        ("gce", {}, P_Y**0.7),
        ("truncated_gce", {}, torch.where(P_Y > 0.5, P_Y**0.7, 0)),
        ("sce", {}, 0.1 + math.log(1e4) * P_Y),
        ("agce", {}, P_Y * (0.6 + P_Y) ** -0.4),
        ("aul", {}, P_Y * (5.5 - P_Y) ** 2),
        ("ael", {}, P_Y * torch.exp(-P_Y / 2.5) / 2.5),
        ("polysoft", {"lam": 2, "d": 3}, (1 + P_Y.log() / 2).clamp(min=0).sqrt()),
        ("focal", {"gamma": 0.5}, (1 - P_Y) ** 0.5 - 0.5 * (1 - P_Y) ** -0.5 * P_Y * P_Y.log()),
    ],
)
def test_gradient_is_that_of_cross_entropy_times_a_weight(name: str, hp: dict[str, Any], weight: Tensor) -> None:
    cross_entropy = P - torch.nn.functional.one_hot(Y, 4).double()
    near(gradient(build(name, **hp), Z), weight[:, None] * cross_entropy, atol=1e-12)


def test_truncation_and_polysoft_leave_no_gradient_at_all() -> None:
    for loss in (build("truncated_gce"), build("polysoft", lam=2)):
        assert (gradient(loss, Z)[1] == 0).all()
    assert (gradient(build("polysoft"), Z)[3] != 0).all()  # by default a model that knows nothing does learn


@pytest.mark.parametrize(
    ("name", "few", "many"),
    [
        ("sce", {"alpha": 0.1, "beta": 1}, {"alpha": 6, "beta": 0.1}),
        ("ngce", {"q": 0.1}, {"q": 0.7}),
        ("nfl_mae", {"alpha": 1, "beta": 1}, {"alpha": 10, "beta": 1}),
        ("nfl_rce", {"alpha": 1, "beta": 1}, {"alpha": 10, "beta": 0.1}),
        ("nce_mae", {"alpha": 1, "beta": 1}, {"alpha": 10, "beta": 1}),
        ("nce_rce", {"alpha": 1, "beta": 1}, {"alpha": 10, "beta": 0.1}),
        ("nce_agce", {"alpha": 1, "beta": 4, "a": 6, "q": 1.5}, {"alpha": 10, "beta": 0.1, "a": 1.8, "q": 3}),
        ("nce_aul", {"alpha": 1, "beta": 4, "a": 6.3, "q": 1.5}, {"alpha": 10, "beta": 0.015, "a": 6, "q": 3}),
        ("nce_ael", {"alpha": 1, "beta": 4, "a": 5}, {"alpha": 10, "beta": 0.1, "a": 1.5}),
        ("elr", {"lam": 3, "beta": 0.7}, {"lam": 7, "beta": 0.9}),
        ("sparse", {"p": 0.1, "lam": 1.2, "rho": 1.03}, {"p": 0.01, "lam": 10, "rho": 1.02}),
    ],
)
def test_defaults_follow_the_number_of_classes(name: str, few: dict[str, Any], many: dict[str, Any]) -> None:
    for k, hp in ((20, few), (21, many)):
        logits, targets, index = random_batch(k)
        by_default, explicit = build(name, classes=k, samples=6), build(name, classes=k, samples=6, **hp)
        for loss in (by_default, explicit):
            if name == "sparse":
                loss.start_epoch(3)
        near(by_default(logits, targets, index), explicit(logits, targets, index), atol=0)


# ---- limits, symmetry, asymmetry ----


def test_limits() -> None:
    ce, mae = rows("ce"), rows("mae")
    near(rows("gce", q=1e-5), ce, atol=1e-4)
    near(rows("gce", q=1), mae, atol=1e-12)
    near(rows("agce", a=1e-9, q=0.7), rows("gce", q=0.7), atol=1e-6)
    near(rows("agce", a=2, q=1), mae, atol=1e-12)
    near(rows("aul", a=2, q=1), mae, atol=1e-12)
    near(1e6 * (1 - rows("ael", a=1e6)), P_Y, atol=1e-5)
    near(rows("sce", alpha=2, beta=0), 2 * ce, atol=1e-12)
    near(rows("sce", alpha=0, beta=1 / math.log(1e4)), mae, atol=1e-12)
    near(rows("focal", gamma=0), ce, atol=1e-12)
    near(rows("polysoft", lam=1e6), ce, atol=1e-4)
    near(rows("polysoft", lam=5, d=2), ce - ce**2 / 10, atol=1e-12)
    near(rows("label_smoothing", eps=0), ce, atol=1e-12)
    near(rows("label_smoothing", eps=1), -Z.log_softmax(dim=1).mean(dim=1), atol=1e-12)
    near(rows("bootstrap_soft", weight=1), ce, atol=1e-12)
    near(rows("bootstrap_hard", weight=0), -P.max(dim=1).values.log(), atol=1e-12)
    near(rows("elr", lam=0), ce, atol=1e-12)
    near(rows("sparse", lam=0, tau=1, normalize=False), ce, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "hp", "total"),
    [
        ("mae", {}, 3),
        ("mae", {"scale": 2}, 6),
        ("nce", {}, 1),
        ("nfl", {}, 1),
        ("ngce", {}, 1),
        ("sce", {"alpha": 0, "beta": 1}, 27.631021),
    ],
)
def test_symmetric_losses_sum_to_a_constant_over_labels(name: str, hp: dict[str, Any], total: float) -> None:
    near(over_labels(build(name, **hp), Z).sum(dim=1), [total] * 4)


def test_other_losses_do_not() -> None:
    total = over_labels(build("gce"), Z).sum(dim=1)
    near(total, [3.749668, 3.846935, 3.882820, 3.551808])
    assert (total >= (4 - 4**0.3) / 0.7).all()
    assert (total <= 3 / 0.7).all()
    near(over_labels(build("ce"), Z).sum(dim=1), [7.697252, 8.447262, 9.522390, 5.570142])


def test_risk_of_mae_under_uniform_noise_is_affine_in_the_clean_risk() -> None:
    eta, mae = 0.4, build("mae")
    noisy = torch.full((4, 4), eta / 3, dtype=torch.float64)
    noisy[I, Y] = 1 - eta
    near(mae(Z, noisy, I), (1 - eta * 4 / 3) * mae(Z, Y, I) + eta, atol=1e-12)


RATIOS = [
    ("agce", {"a": 0.6, "q": 0.6}, 0.675480),
    ("agce", {"a": 4, "q": 0.2}, 0.836512),
    ("agce", {"a": 6, "q": 1.5}, 1.0),
    ("aul", {"a": 5.5, "q": 3}, 0.669421),
    ("aul", {"a": 6.3, "q": 1.5}, 0.917208),
    ("aul", {"a": 3, "q": 0.1}, 1.0),
    ("ael", {"a": 2.5}, 0.670320),
    ("ael", {"a": 3.5}, 0.751477),
]


@pytest.mark.parametrize(("name", "hp", "ratio"), RATIOS)
def test_asymmetry_ratio(name: str, hp: dict[str, Any], ratio: float) -> None:
    of_loss = {"agce": agce_ratio, "aul": aul_ratio, "ael": ael_ratio}[name]
    assert of_loss(**hp) == pytest.approx(ratio, abs=1e-6)
    # By definition: the least [l(p) - l(p + d)] / [l(0) - l(d)] on a grid of 0 <= p, 0 < d, p + d <= 1.
    p = torch.linspace(0, 1, 401, dtype=torch.float64)
    two = torch.stack([p, 1 - p], dim=1).clamp(min=1e-300).log()
    value = build(name, classes=2, **hp)(two, torch.zeros(401, dtype=torch.int64), torch.zeros(401, dtype=torch.int64))
    least = min(((value[: 401 - d] - value[d:]) / (value[0] - value[d])).min().item() for d in range(1, 401))
    assert least == pytest.approx(ratio, abs=0.003)


VERTEX: dict[str, list[tuple[float, float, float]]] = {
    "ce": [(0.4, 0.3, 0.3), (0.6, 0.3, 0.1), (0.5, 0.45, 0.05)],
    "gce": [(0.565, 0.215, 0.22), (0.905, 0.09, 0.005), (0.585, 0.415, 0)],
    "agce": [(0.82, 0.09, 0.09), (1, 0, 0), (0.645, 0.355, 0)],
    "aul": [(0.815, 0.09, 0.095), (1, 0, 0), (0.63, 0.37, 0)],
    "ael": [(0.81, 0.095, 0.095), (1, 0, 0), (0.63, 0.37, 0)],
    "agce 6 1.5": [(1, 0, 0)] * 3,
    "mae": [(1, 0, 0)] * 3,
}


@pytest.mark.parametrize("name", VERTEX)
def test_least_point_of_the_weighted_loss(name: str) -> None:
    """An asymmetric loss has its minimum at the vertex while the weights obey max_i w_i / w_y <= r."""
    grid = np.arange(201)
    simplex = np.array([(i, j, 200 - i - j) for i, j in itertools.product(grid, grid) if i + j <= 200]) / 200
    loss = build("agce", classes=3, a=6, q=1.5) if name.startswith("agce ") else build(name, classes=3)
    values = over_labels(loss, torch.from_numpy(simplex).clamp(min=1e-300).log())
    for weights, expected in zip([(0.4, 0.3, 0.3), (0.6, 0.3, 0.1), (0.5, 0.45, 0.05)], VERTEX[name], strict=True):
        best = simplex[(values @ torch.tensor(weights, dtype=torch.float64)).argmin()]
        assert np.abs(best - expected).max() < 0.0051  # one step: mirror images tie


# ---- what every loss has in common ----


@every_loss
@pytest.mark.parametrize("k", [2, 4, 1000])
def test_one_value_per_row(name: str, hp: dict[str, Any], k: int) -> None:
    logits, targets, index = random_batch(k)
    together = build(name, classes=k, samples=6, **hp)(logits, targets, index)
    assert together.shape == (6,)
    assert together.dtype == torch.float64
    assert together.isfinite().all()
    single = build(name, classes=k, samples=6, **hp)
    alone = [single(logits[i : i + 1], targets[i : i + 1], index[i : i + 1]) for i in range(6)]
    near(together, torch.cat(alone), atol=1e-12)


@each([(name, hp) for name, hp in VARIANTS if name not in ("elr", "bootstrap_soft")])  # they hold a part constant
def test_gradient_matches_finite_differences(name: str, hp: dict[str, Any]) -> None:
    loss = build(name, **hp)
    assert torch.autograd.gradcheck(lambda logits: loss(logits, Y, I), (Z.clone().requires_grad_(),))


@every_loss
def test_permuting_the_classes_changes_nothing(name: str, hp: dict[str, Any]) -> None:
    order = torch.tensor([2, 0, 3, 1])
    new_name_of = order.argsort()
    renamed = {**hp, "high_noise": [int(new_name_of[1])]} if "high_noise" in hp else hp
    near(build(name, **renamed)(Z[:, order], new_name_of[Y], I), rows(name, **hp), atol=1e-12)


@every_loss
def test_adding_a_constant_to_the_logits_changes_nothing(name: str, hp: dict[str, Any]) -> None:
    shifted = build(name, **hp)(Z + 3.7, Y, I)
    if name == "sparse" and hp.get("normalize", True):
        assert not torch.allclose(shifted, rows(name, **hp), atol=1e-3)
    else:
        near(shifted, rows(name, **hp), atol=1e-9)


@every_loss
def test_soft_targets(name: str, hp: dict[str, Any]) -> None:
    one_hot = torch.nn.functional.one_hot(Y, 4)
    near(build(name, **hp)(Z, one_hot.double(), I), rows(name, **hp), atol=1e-12)
    near(build(name, **hp)(Z, one_hot.float(), I), rows(name, **hp), atol=1e-12)
    soft = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64).expand(4, 4)
    expected = sum(w * build(name, **hp)(Z, torch.full((4,), c), I) for c, w in enumerate(soft[0].tolist()))
    near(build(name, **hp)(Z, soft, I), expected, atol=1e-12)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits(name: str, hp: dict[str, Any], dtype: torch.dtype) -> None:
    """Certain and right, certain and wrong, all equal, all zero: value and gradient stay finite."""
    for k in (2, 1000):
        logits = torch.zeros(5, k, dtype=dtype)
        logits[0, 0], logits[1, 1], logits[2, 0] = 1e4, 1e4, -1e4
        logits[3] = 1e4
        logits[2, 1] = 1e4
        logits.requires_grad_()
        targets = torch.zeros(5, dtype=torch.int64)
        for target in (targets, torch.nn.functional.one_hot(targets, k).to(torch.float32)):
            value = build(name, classes=k, samples=5, **hp)(logits, target, torch.arange(5))
            slope = torch.autograd.grad(value.sum(), logits)[0]
            assert value.isfinite().all()
            assert slope.isfinite().all()
            assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@every_loss
def test_precision(name: str, hp: dict[str, Any]) -> None:
    exact = rows(name, **hp)
    torch.testing.assert_close(build(name, **hp)(Z.float(), Y, I).double(), exact, rtol=1e-5, atol=1e-5)
    for dtype in (torch.bfloat16, torch.float16):  # only the logits are rounded, never the loss
        half = Z.to(dtype)
        near(build(name, **hp)(half, Y, I), build(name, **hp)(half.float(), Y, I), atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near(build(name, **hp)(Z.float(), Y, I), build(name, **hp)(Z.float(), Y, I).float(), atol=0)
        assert (build(name, **hp)(Z.float(), Y, I).double() - exact).abs().max() < 1e-5 * exact.abs().max().clamp(min=1)


@every_loss
@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_out_of_range_is_an_error(name: str, hp: dict[str, Any], label: int) -> None:
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        build(name, **hp)(Z, torch.tensor([0, 1, label, 2]), I)


# ---- single losses ----


def test_small_powers_keep_their_digits_in_float32() -> None:
    for q in (1e-6, 1e-4):
        assert (build("gce", q=q)(Z.float(), Y, I) - rows("gce", q=q)).abs().max() < 1e-6


def test_a_loss_of_a_fitted_sample_is_not_rounded_to_zero() -> None:
    sure = torch.tensor([[0.0, -12.0]])
    p_wrong = math.exp(-12) / (1 + math.exp(-12))
    for name, slope in (("mae", 1), ("gce", 1), ("aul", 4.5**2)):
        value = build(name, classes=2, samples=1)(sure, torch.tensor([0]), torch.tensor([0])).item()
        assert value == pytest.approx(slope * p_wrong, rel=0.02)


def test_group_label_smoothing() -> None:
    groups = build("group_label_smoothing", high_noise=torch.tensor([2]), eps=0.1, delta=0.05)
    expected = rows("label_smoothing", eps=0.05)
    expected[1] = rows("label_smoothing", eps=0.15)[1]  # the row given label 2, whatever is predicted
    near(groups(Z, Y, I), expected, atol=1e-12)
    near(rows("group_label_smoothing", high_noise=[2], delta=0), rows("label_smoothing"), atol=1e-12)


def test_bootstrap_soft_does_not_differentiate_its_belief() -> None:
    target = 0.95 * torch.nn.functional.one_hot(Y, 4).double() + 0.05 * P
    near(gradient(build("bootstrap_soft"), Z), P - target, atol=1e-12)


def test_elr_second_step_and_gradient() -> None:
    first, second = (rows("elr") - rows("ce")) / 3, build("elr")
    near(first, [-0.152805, -0.213150, -0.209978, -0.078972])
    second(Z, Y, I)
    near((second(Z, Y, I) - rows("ce")) / 3, [-0.275616, -0.395030, -0.388574, -0.138214])
    loss = build("elr", lam=1)
    loss(Z, Y, I)
    near(gradient(loss, Z)[1] - gradient(build("ce"), Z)[1], [0.043101, -0.089168, 0.017864, 0.028203])
    near(loss.memory.sum(dim=1), [1 - 0.7**2] * 4)


def test_elr_remembers_by_row_of_the_data_set() -> None:
    loss = build("elr", samples=10)
    loss(Z, Y, torch.tensor([7, 0, 3, 9]))
    seen = torch.zeros(10, dtype=torch.bool)
    seen[[7, 0, 3, 9]] = True
    near(loss.memory.sum(dim=1), 0.3 * seen.float())
    again = loss(Z.flip(0), Y.flip(0), torch.tensor([9, 3, 0, 7])).flip(0)  # other order, same rows
    twice = build("elr")
    twice(Z, Y, I)
    near(again, twice(Z, Y, I), atol=1e-12)
    assert loss.memory[[7, 0, 3, 9]].argmax(dim=1).tolist() == P.argmax(dim=1).tolist()
    with pytest.raises(IndexError):
        loss(Z, Y, torch.tensor([0, 1, 2, 10]))


def test_elr_takes_the_wrong_label_back() -> None:
    """After the memory agrees with the model, the pull of a wrong label on the logits is weaker than under "ce"."""
    loss = build("elr")
    for _ in range(20):
        loss(Z, Y, I)
    assert gradient(loss, Z)[1, 1] < 0 < gradient(build("ce"), Z)[1, 1]


def test_elr_goes_on_from_its_state() -> None:
    loss = build("elr")
    loss(Z, Y, I)
    copy = build("elr")
    copy.load_state_dict({name: value.clone() for name, value in loss.state_dict().items()})
    near(copy(Z, Y, I), loss(Z, Y, I), atol=0)
    with pytest.raises(EvidenceError, match=r"\(4, 4\).*\(5, 4\)"):
        build("elr", samples=5).load_state_dict(loss.state_dict())


def test_sparse_schedule_depends_on_the_epoch_only() -> None:
    for every, expected in ((1, [4, 8, 128, 4096]), (5, [4, 4, 8, 16])):
        loss, none = build("sparse", lam=4, rho=2, every=every), rows("sparse", lam=0)
        penalty = rows("sparse", lam=1) - none
        for epoch, weight in zip([10, 0, 5, 1], [expected[3], expected[0], expected[2], expected[1]], strict=True):
            loss.start_epoch(epoch)
            near(loss(Z, Y, I) - none, weight * penalty, atol=1e-9)


def test_sparse_penalty_at_its_ends() -> None:
    def penalty(logits: list[float]) -> float:
        z = torch.tensor([logits], dtype=torch.float64)
        arguments = (z, torch.tensor([0]), torch.tensor([0]))
        hp: dict[str, Any] = {"tau": 1, "normalize": False, "p": 0.1}
        return (build("sparse", lam=1, **hp)(*arguments) - build("sparse", lam=0, **hp)(*arguments)).item()

    assert penalty([0, 0, 0, 0]) == pytest.approx(4**0.9)
    assert penalty([500, 0, 0, 0]) == pytest.approx(1 + 3 * 1e-7**0.1)
    z = torch.tensor([[0.6, 0.0]], dtype=torch.float64)
    soft = torch.softmax(z, dim=1)  # at this target cross entropy alone does not move
    slope = gradient(build("sparse", classes=2, samples=1, tau=1, normalize=False), z, soft, torch.tensor([0]))
    assert slope[0, 0] < 0 < slope[0, 1]  # the larger probability grows


def test_sparse_with_a_last_layer_of_zeros_has_a_bounded_gradient() -> None:
    assert gradient(build("sparse"), torch.zeros(4, 4)).abs().max() < 1e4


@pytest.mark.parametrize(
    ("name", "hp", "words"),
    [
        ("mae", {"scale": 0}, ["scale is 0"]),
        ("gce", {"q": 0}, ["q is 0", "(0, 1]", "ce"]),
        ("gce", {"q": math.nan}, ["q is nan"]),
        ("truncated_gce", {"q": 2, "k": 1}, ["q is 2", "k is 1"]),
        ("sce", {"alpha": -1, "A": 4}, ["alpha is -1", "A is 4"]),
        ("sce", {"alpha": 0, "beta": 0}, ["both 0"]),
        ("agce", {"a": 0, "q": -1}, ["a is 0", "q is -1", "a > 0 and q > 0", "(a / (a + 1))^(1 - q)"]),
        ("aul", {"a": 1}, ["a is 1", "a > 1 and q > 0", "((a - 1) / a)^(q - 1)"]),
        ("ael", {"a": -2}, ["a is -2", "a > 0", "exp(-1 / a)"]),
        ("nce_agce", {"a": -1}, ["agce", "a is -1"]),
        ("nce_mae", {"alpha": 0, "beta": math.inf}, ["nce_mae", "alpha is 0", "beta is inf"]),
        ("nfl_rce", {"alpha": -1}, ["nfl_rce", "alpha is -1"]),
        ("nfl", {"gamma": -2}, ["focal", "gamma is -2"]),
        ("label_smoothing", {"eps": 1.5}, ["eps is 1.5"]),
        ("group_label_smoothing", {}, ["high_noise is missing"]),
        ("group_label_smoothing", {"high_noise": [1, 4, -1]}, ["[-1, 4]", "0..3"]),
        ("group_label_smoothing", {"high_noise": [1], "delta": 0.2}, ["eps - delta is -0.1"]),
        ("bootstrap_hard", {"weight": 1.1}, ["weight is 1.1"]),
        ("focal", {"gamma": -1}, ["gamma is -1"]),
        ("polysoft", {"lam": 0, "d": 1}, ["lam is 0", "d is 1"]),
        ("elr", {"lam": -1, "beta": 1}, ["lam is -1", "beta is 1"]),
        ("sparse", {"tau": 0, "p": 2, "rho": 0.5, "every": 0}, ["tau is 0", "p is 2", "rho is 0.5", "every is 0"]),
        ("sparse", {"base": "elr"}, ["base is elr"]),
        ("sparse", {"base": "gec"}, ["unknown loss 'gec'", "gce"]),
        ("sparse", {"base": "gce", "base_options": {"q": 3}}, ["loss gce", "q is 3"]),
    ],
)
def test_wrong_parameters_are_all_named(name: str, hp: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build(name, **hp)
    assert [word for word in words if word not in str(caught.value)] == []
    assert caught.value.hint


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_loss
def test_the_same_on_a_gpu(name: str, hp: dict[str, Any]) -> None:
    on_cpu, on_gpu = build(name, **hp), build(name, **hp)
    for _ in range(2):  # elr: the second step reads the memory
        expected, found = on_cpu(Z, Y, I), on_gpu(Z.cuda(), Y.cuda(), I.cuda())
        near(found.cpu(), expected, atol=1e-9)
