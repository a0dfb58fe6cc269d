"""What an audit is going to do, how long that takes, and which settings it has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cleanlab_lite.config import FIELDS
from cleanlab_lite.text import counted, escape

from ..output import line
from ..settings import OptionValue
from ..terminal import format_duration

if TYPE_CHECKING:
    from cleanlab_lite.forecast import Forecast
    from cleanlab_lite.manifest.manifest import Modality

_ALL = 0.98  # share that the cache holds; of a few files some are broken, and decoded each time


def forecast_view(facts: Mapping[str, Any], forecast: Forecast, budget: float) -> None:
    """What `audit --dry-run` would do, in words; `budget` in seconds, 0 for none."""
    lines = [("rows", _of_rows(facts)), *(("looks at", text) for text in views_in_words(facts))]
    if "evidence" not in facts:
        precisions = sorted({facts["precision"], facts["encoder_precision"]} - {""})
        lines.append(("machine", f"{facts['device']} in {' and '.join(precisions)}"))
    lines.append(("takes", duration_in_words(forecast)))
    asides = cached_in_words(forecast, facts["modality"]), budget_in_words(forecast, budget)
    lines += [("", text) for text in asides if text]
    if "evidence" not in facts:
        lines.append(("needs", f"{facts['memory_gib']:g} GiB of memory, {facts['disk_mib']:,} MiB on the disk"))
    width = max(len(name) for name, _ in lines)
    before = ""
    for name, text in lines:
        line(f"{name if name != before else '':<{width}}  {escape(text)}")
        before = name


def _of_rows(facts: Mapping[str, Any]) -> str:
    from cleanlab_lite.manifest.manifest import PLURALS

    rows, labelled, missing = facts["rows"], facts["labelled"], facts.get("missing_files", 0)
    parts = [counted(rows, PLURALS[facts["modality"]].removesuffix("s")), counted(facts["classes"], "class")]
    parts += [f"{rows - labelled:,} without a label"] if labelled < rows else []
    return ", ".join([*parts, *([f"missing: {counted(missing, 'file')}"] if missing else [])])


def views_in_words(facts: Mapping[str, Any]) -> list[str]:
    """What an audit looks at, by the facts of its plan, and what it learns from that; a line per view."""
    if "evidence" in facts:
        return [f"your own evidence ({facts['evidence']}): nothing is trained"]
    size = f"{facts['image_size']} px" if facts["image_size"] else ""
    if facts["sample_rate"]:
        size = f"{facts['sample_rate'] / 1000:g} kHz, patches of {facts['patch_seconds']:g} s"
    encoder = f"{facts['encoder']}, {facts['encoder_features']} numbers, {size}"
    in_words = {
        "encoder": f"encoder ({encoder})",
        "statistics": "statistics of the spectrograms",
        "filters": "filters (pieces of the data, at most 32 px)",
    }
    beside = facts["beside"] or {"views": ()}
    found = []
    for view in facts["views"]:
        if view in beside["views"]:
            continue
        learned = "a regression in closed form"
        if facts["heads"] == "closed":
            learned += ", nothing is trained"
        elif view == facts["views"][0]:
            head = f"{learned}, " if view in in_words else ""  # vectors that are made of files
            start = f", from the proxies of run {facts['warm_start']}" if facts["warm_start"] else ""
            learned = f"{head}{_networks(facts)}, batches of {facts['batch_size']}{start}"
        found.append(f"{in_words.get(view, f'{view} ({size})' if size else view)}: {learned}")
    for view in beside["views"]:
        side = f" ({beside['image_size']} px)" if beside["image_size"] else ""
        found.append(f"{view}{side}: {_networks(beside)}, if the first comes near the regression")
    return found


def _networks(facts: Mapping[str, Any]) -> str:
    epochs = counted(facts["epochs"], "epoch") if facts["epochs"] else "epochs by trial"
    taught = f"{facts['strategy']} with {facts['loss']}"
    if facts["recipes"] > 1:
        taught = f"the best of {facts['recipes']} recipes"
    return f"{facts['ensemble']} cross-fitted networks {facts['proxy']}, {taught}, {epochs}"


def duration_in_words(forecast: Forecast) -> str:
    """ "about 1m10s (55s to 2m: trials decide what is trained)"; what one cannot see is left out."""
    about, least, most = map(format_duration, (forecast.seconds, forecast.least, forecast.most))
    if len({about, least, most}) == 1:
        return f"about {about}"
    return f"about {about} ({least} to {most}: trials decide what is trained)"


def budget_in_words(forecast: Forecast, budget: float) -> str:
    """That a time budget in seconds is too short; "" where it is not, or is 0 for none."""
    if not 0 < budget < forecast.seconds:
        return ""
    return f"more than the time budget of {format_duration(budget)}: given again, the same command goes on"


def cached_in_words(forecast: Forecast, modality: Modality) -> str:
    """ "the cache holds 62 % of the pictures and their vectors"; "" where it has none of a few."""
    from cleanlab_lite.manifest.manifest import PLURALS

    shares = {part.name: part.cached for part in forecast.parts}
    decoded, encoded = shares.get("decode", 0.0), shares.get("encode")
    if not decoded:
        return ""
    most = "" if decoded > _ALL else f"{100 * decoded:.0f} % of "
    held = f"the cache holds {most}the {PLURALS[modality]}"
    if encoded is None:
        return held
    if encoded > _ALL * decoded:
        return f"{held} and their vectors"
    return f"{held}, and {f'the vectors of {100 * encoded:.0f} %' if encoded else 'no vectors yet'}"


def settings_view(settings: Mapping[str, OptionValue]) -> None:
    """Value, origin and meaning of every setting, as lines that nlclean.toml would take."""
    pairs = [f"{name} = {json.dumps(setting.value)}" for name, setting in settings.items()]
    width = max(map(len, pairs))
    for pair, (name, setting) in zip(pairs, settings.items(), strict=True):
        line(f"{pair:<{width}}  # {escape(setting.origin)}{_meaning(name, setting.value)}")


def _meaning(name: str, value: Any) -> str:
    """What the value of a setting stands for, or is counted in; "" where it speaks for itself."""
    option = FIELDS.get(name)
    if option is None:
        return ""
    if value == option.default and option.stands_for:
        return f": {option.stands_for}"
    return f", in {option.unit}" if option.unit else ""
