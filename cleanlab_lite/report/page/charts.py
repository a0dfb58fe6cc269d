"""Charts of the page as SVG text. Colours are classes of `page.css`; everything is described in words as well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from cleanlab_lite.judge.mixture import (
    EDGE,
    BetaMixture,
    GaussianMixture,
    beta_log_density,
    gaussian_log_density,
)
from cleanlab_lite.text import percent, short_names

Cells = dict[tuple[int, int], tuple[float, float]]  # (true, given) -> probability, expected rows

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 12, 38  # margins for the axes
BINS = 48
MAX_CELLS = 40  # classes on a side of the heat map
NUMBERED = 14  # up to so many classes the cells carry numbers
LABEL = 12  # columns of a class name beside the heat map


def loss_histogram(loss: np.ndarray, suspect: np.ndarray, mixture: BetaMixture | GaussianMixture | None) -> str:
    """Rows by mean loss, flagged ones over all rows, with the components of the mixture. loss, suspect (n,).

    The vertical scale is a square root: thousands of easy rows would flatten the hundred that matter.
    """
    known = np.isfinite(loss)
    loss, suspect = loss[known], suspect[known]
    low, high = (0.0, float(np.percentile(loss, 99.5))) if len(loss) else (0.0, 1.0)
    high = max(high, 1e-3)
    edges = np.linspace(low, high, BINS + 1)
    counts = np.histogram(np.minimum(loss, high), edges)[0]
    flagged = np.histogram(np.minimum(loss[suspect], high), edges)[0]
    top = max(int(counts.max()), 1)
    x, y = _scale(low, high, LEFT, WIDTH - RIGHT), _scale(0, math.sqrt(top), HEIGHT - BOTTOM, TOP)
    bars = []
    for kind, values in (("all", counts), ("suspect", flagged)):
        steps = [f"M{x(low):.1f} {y(0):.1f}"]
        for right, value in zip(edges[1:], values, strict=True):
            steps.append(f"V{y(math.sqrt(value)):.1f}H{x(right):.1f}")
        bars.append(f'<path class="area {kind}" d="{"".join(steps)}V{y(0):.1f}Z"/>')
    lines = []
    if mixture is not None:
        grid = np.linspace(low, high, 240)
        expected = component_densities(mixture, grid, loss) * len(loss) * (edges[1] - edges[0])
        for kind, curve in zip(("clean", "noisy"), expected.T, strict=True):
            heights = np.minimum(np.sqrt(curve), math.sqrt(top))
            drawn = heights > 0
            lines.append(_line(x, y, grid[drawn], heights[drawn], f"fit {kind}"))
    ticks = {0} | {_one_digit(top * share) for share in (1 / 16, 1 / 4, 9 / 16, 1) if top * share >= 1}
    return _chart(
        "Histogram of the mean loss: all rows, and the flagged ones among them",
        _axis_y([(math.sqrt(value), f"{value:,}") for value in sorted(ticks)], y, "rows")
        + _axis_x(_ticks(low, high), x, "mean loss of the given label (nats)")
        + "".join(bars)
        + "".join(lines),
    )


def component_densities(mixture: BetaMixture | GaussianMixture, grid: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(g, 2) weighted densities of the clean and the noisy component on `grid` (g,), as fitted to x (n,).

    A Beta mixture describes the values within its range only: outside it is 0.
    """
    if isinstance(mixture, GaussianMixture):
        return np.exp(gaussian_log_density(grid, mixture.means, mixture.variances)) * mixture.weights
    width = mixture.high - mixture.low
    inside = (grid >= mixture.low) & (grid <= mixture.high)
    scaled = np.clip((grid - mixture.low) / width, EDGE, 1 - EDGE)
    share = float(((x >= mixture.low) & (x <= mixture.high)).mean())
    density = np.exp(beta_log_density(scaled, mixture.alpha, mixture.beta)) * mixture.weights * share / width
    return np.where(inside[:, None], density, 0.0)


def margin_curves(quartiles: Mapping[str, np.ndarray]) -> str:
    """Median and quartile band of the margin by epoch. `quartiles` maps "all" and "suspect" to (3, e) arrays."""
    present = {kind: band for kind, band in quartiles.items() if np.isfinite(band).any()}
    epochs = max((band.shape[1] for band in present.values()), default=1)
    values = np.concatenate([np.zeros(1), *(band[np.isfinite(band)] for band in present.values())])
    low, high = float(values.min()), float(values.max())
    high = max(high, low + 1)
    x, y = _scale(1, max(epochs, 2), LEFT, WIDTH - RIGHT), _scale(low, high, HEIGHT - BOTTOM, TOP)
    drawn = []
    epoch = np.arange(1, epochs + 1)
    for kind, band in present.items():
        known = np.isfinite(band).all(axis=0)
        at = epoch[known]
        outline = _points(x, y, at, band[2, known]) + " " + _points(x, y, at[::-1], band[0, known][::-1])
        drawn.append(f'<polygon class="band {kind}" points="{outline}"/>')
        drawn.append(_line(x, y, at, band[1, known], f"median {kind}"))
    zero = f'<line class="zero" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>'
    ticks = sorted({round(tick) for tick in _ticks(1, max(epochs, 2)) if tick >= 1} | {1})
    return _chart(
        "Margin of the given label by epoch: medians and quartiles of flagged rows and of all others",
        _axis_y([(tick, f"{tick:g}") for tick in _ticks(low, high)], y, "margin (logits)")
        + _axis_x(ticks, x, "epoch")
        + zero
        + "".join(drawn),
    )


def share_bar(rate: float, low: float, high: float, full: float) -> str:
    """A bar of length `rate` with a whisker from `low` to `high`, all of `full`. For a table cell."""
    x = _scale(0, full, 0, 160)
    return (
        '<svg class="bar" viewBox="0 0 160 14" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="160" height="14"/>'
        f'<rect class="suspect" width="{x(min(rate, full)):.1f}" height="14"/>'
        f'<path class="whisker" d="M{x(low):.1f} 7H{x(min(high, full)):.1f}"/></svg>'
    )


def heat_map(labels: Sequence[str], cells: Cells) -> str:
    """P(given | true), a row per true class. `cells` maps (true, given) to probability and expected rows.

    Colour is for what is off the diagonal, scaled to its largest value.
    """
    k = len(labels)
    edge, header = 400, 86
    wide = 24  # beyond it, for the names of rows, which are not turned
    side = edge / max(k, 1)
    largest = max((p for (true, given), (p, _) in cells.items() if true != given), default=0.0) or 1.0
    size = min(12.0, side * 0.8)
    parts = []
    short = short_names(labels, LABEL)
    for i, label in enumerate(labels):
        name = escape(short.get(label, label))
        at = header + (i + 0.5) * side
        font = f'class="tick" font-size="{size:.1f}" dy=".35em"'
        parts.append(f'<text {font} x="{header - 6}" y="{at:.1f}" text-anchor="end">{name}</text>')
        turned = f"translate({at:.1f} {header - 6}) rotate(-55)"
        parts.append(f'<text {font} transform="{turned}">{name}</text>')
    for true in range(k):
        for given in range(k):
            probability, rows = cells.get((true, given), (0.0, 0.0))
            where = f'x="{header + given * side:.2f}" y="{header + true * side:.2f}"'
            box = f'{where} width="{side:.2f}" height="{side:.2f}"'
            told = f"{labels[true]} labelled {labels[given]}: {percent(probability)} (about {rows:,.1f} rows)"
            kind, opacity = ("diagonal", 1.0) if true == given else ("cell", (probability / largest) ** 0.7)
            pair = f'data-given="{escape(labels[given])}" data-true="{escape(labels[true])}"'
            parts.append(
                f'<g {pair}><title>{escape(told)}</title><rect class="{kind}" {box} fill-opacity="{opacity:.3f}"/></g>'
            )
            if k <= NUMBERED and (true == given or probability >= 0.005):
                strong = " strong" if true != given and opacity > 0.55 else ""
                parts.append(
                    f'<text class="number{strong}" font-size="{min(11.0, side * 0.36):.1f}" text-anchor="middle" '
                    f'x="{header + (given + 0.5) * side:.2f}" y="{header + (true + 0.5) * side:.2f}" dy=".35em">'
                    f"{100 * probability:.0f}</text>"
                )
    axes = (
        f'<text class="axis" x="{header + edge / 2}" y="{header + edge + 18}" text-anchor="middle">given label</text>'
        f'<text class="axis" transform="translate({header + edge + 14} {header + edge / 2}) rotate(90)" '
        'text-anchor="middle">estimated true label</text>'
    )
    return (
        f'<svg viewBox="{-wide} 0 {wide + header + edge + 24} {header + edge + 26}" role="img" '
        f'aria-label="Heat map: how often each true class carries each label">{"".join(parts)}{axes}</svg>'
    )


def fold_noise_matrix(table: Sequence[Mapping[str, Any]]) -> tuple[list[str], Cells, int]:
    """Rows of noise_matrix.parquet as the labels and cells of `heat_map`: the `MAX_CELLS` most confused classes.

    Also how many classes are left out.
    """
    confused: dict[str, float] = {}
    for row in table:
        for label in (row["true_label"], row["given_label"]):
            off = row["expected_rows"] if row["true_label"] != row["given_label"] else 0.0
            confused[label] = confused.get(label, 0.0) + off
    chosen = sorted(sorted(confused, key=lambda label: (-confused[label], label))[:MAX_CELLS])
    index = {label: i for i, label in enumerate(chosen)}
    cells = {
        (index[row["true_label"]], index[row["given_label"]]): (row["probability"], row["expected_rows"])
        for row in table
        if row["true_label"] in index and row["given_label"] in index
    }
    return chosen, cells, len(confused) - len(chosen)


class _scale:
    """A linear map from [low, high] to [start, end]."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.start = low, start
        self.slope = (end - start) / (high - low)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) * self.slope


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers in [low, high]."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(step * i, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _one_digit(value: float) -> int:
    """`value` rounded down to one significant digit."""
    power = 10 ** math.floor(math.log10(value))
    return int(value // power * power)


def _points(x: _scale, y: _scale, xs: np.ndarray, ys: np.ndarray) -> str:
    return " ".join(f"{x(float(a)):.1f},{y(float(b)):.1f}" for a, b in zip(xs, ys, strict=True))


def _line(x: _scale, y: _scale, xs: np.ndarray, ys: np.ndarray, kind: str) -> str:
    return f'<polyline class="line {kind}" points="{_points(x, y, xs, ys)}"/>'


def _axis_x(ticks: Sequence[float], x: _scale, title: str) -> str:
    base = HEIGHT - BOTTOM
    marks = "".join(
        f'<text class="tick" x="{x(tick):.1f}" y="{base + 16}" text-anchor="middle">{tick:g}</text>' for tick in ticks
    )
    title = f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{title}</text>'
    return f'<line class="base" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>{marks}{title}'


def _axis_y(ticks: Sequence[tuple[float, str]], y: _scale, title: str) -> str:
    marks = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(at):.1f}" y2="{y(at):.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y(at):.1f}" dy=".35em" text-anchor="end">{text}</text>'
        for at, text in ticks
    )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return (
        f'{marks}<text class="axis" transform="translate(11 {middle}) rotate(-90)" text-anchor="middle">{title}</text>'
    )


def _chart(description: str, inside: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}">{inside}</svg>'
