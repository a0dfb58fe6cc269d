"""The parts of the review screen. They are told what to show and decide nothing.

Text of the data's owner goes through `escape` and into `Content`, which is never read as markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from cleanlab_lite.evidence.decisions import Decision
from cleanlab_lite.report.reasons import ISSUES
from cleanlab_lite.text import chance, escape, room_of, short_name, shorten, shorten_path

from .previews import Paint, braille, sparkline, tile
from .samples import Curve, Neighbour, Sample

_NAME_WIDTH = 12  # of the names in front of values, in cells
ROOMY = 44  # lines of a terminal from which there is room for larger curves and pictures
_QUIET = "$quiet"  # a colour of the theme
_CELL = (10, 20)  # pixels of a character cell, for terminals that draw pixels


def graphics() -> type[Widget] | None:
    """textual-image's widget where the terminal draws pixels (Kitty, Sixel), else None.

    Asks the terminal when it is first called, which works only before the screen is taken over.
    """
    try:
        from textual_image.renderable import Image, SixelImage, TGPImage
    except Exception:  # one that knows no size of its own, to be divided by, has no pixels
        return None
    if Image not in (SixelImage, TGPImage):
        return None
    from textual_image.widget import Image as Graphics

    return Graphics


class Canvas(Widget):
    """Draws pixels as half blocks, or as Braille dots where there is no colour."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._paint: Paint | None = None
        self._strips: list[Strip] | None = None

    def show(self, paint: Paint | None) -> None:
        self._paint, self._strips = paint, None
        self.refresh()

    def on_resize(self) -> None:
        self._strips = None

    def render_line(self, y: int) -> Strip:
        if self._strips is None:
            self._strips = self._draw()
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width)

    def _draw(self) -> list[Strip]:
        width, height = self.size
        if self._paint is None or not width or not height:
            return []
        plain = self.background_colors[1].rich_color
        if self.app.no_color:
            lines = [
                [Segment(line, Style(bgcolor=plain))] for line in braille(_even(self._paint(2 * width, 4 * height), 4))
            ]
        else:
            lines = _half_blocks(_even(self._paint(width, 2 * height), 2))
        above = (height - len(lines)) // 2
        blank = Style(bgcolor=plain)
        strips = []
        for line in lines:
            strip = Strip(line)
            left = (width - strip.cell_length) // 2
            right = width - left - strip.cell_length
            strips.append(Strip([Segment(" " * left, blank), *line, Segment(" " * right, blank)], width))
        return (
            [Strip.blank(width, blank)] * above + strips + [Strip.blank(width, blank)] * (height - above - len(strips))
        )


class PixelCanvas(Container):
    """Draws pixels as the terminal's own pictures, through the widget that `graphics` found."""

    def __init__(self, widget: type[Widget], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._picture = widget()
        self._paint: Paint | None = None

    def compose(self) -> ComposeResult:
        yield self._picture

    def show(self, paint: Paint | None) -> None:
        self._paint = paint
        self.on_resize()

    def on_resize(self) -> None:
        from PIL import Image

        width, height = self.size.width * _CELL[0], self.size.height * _CELL[1]
        picture = None
        if self._paint is not None and width and height:
            drawn = Image.fromarray(self._paint(width, height))
            picture = Image.new("RGB", (width, height), self.background_colors[1].rgb)
            picture.paste(drawn, ((width - drawn.width) // 2, (height - drawn.height) // 2))
        self._picture.image = picture  # type: ignore[attr-defined]


class PreviewPane(Vertical):
    """The sample itself: drawn, with a caption, or in words where it cannot be drawn."""

    def __init__(self, widget: type[Widget] | None, *, id: str) -> None:
        super().__init__(id=id)
        self._canvas = Canvas(id="canvas") if widget is None else PixelCanvas(widget, id="canvas")
        self._text, self._caption = Static(id="words", markup=False), Static(id="caption", markup=False)

    def compose(self) -> ComposeResult:
        yield self._canvas
        yield self._text
        yield self._caption

    def draw(self, paint: Paint, caption: str) -> None:
        self._show(paint, Content(""), caption)

    def say(self, content: Content) -> None:
        self._show(None, content, "")

    def _show(self, paint: Paint | None, content: Content, caption: str) -> None:
        self._canvas.display, self._text.display = paint is not None, paint is None
        self._caption.display = bool(caption)
        self._canvas.show(paint)
        self._text.update(content)
        self._caption.update(Content(caption))


class EvidencePane(Static):
    """What the audit knows about the row. `blind` leaves only what the owner of the data said."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._sample: Sample | None = None
        self._decision: Decision | None = None
        self._settled, self._blind = "", False

    def show(self, sample: Sample, decision: Decision | None, settled: str, *, blind: bool) -> None:
        """`settled`: what was decided of a copy, and so of this row."""
        self._sample, self._decision, self._settled, self._blind = sample, decision, settled, blind
        self.refresh(layout=True)

    def render(self) -> Content:
        if self._sample is None:
            return Content("")
        width = max(self.size.width, 20)
        if self._blind:
            return Content("\n").join(_blind_facts(self._sample, width, self._decision))
        roomy = self.app.size.height >= ROOMY
        return Content("\n").join(_facts(self._sample, width, self._decision, self._settled, roomy=roomy))


class Examples(Vertical):
    """Rows of one class that are most like the sample."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._canvas, self._list = Canvas(), Static(markup=False)

    def compose(self) -> ComposeResult:
        yield self._canvas
        yield self._list

    def show(
        self,
        role: str,
        label: str | None,
        rows: Sequence[Neighbour],
        pictures: Sequence[np.ndarray] | None,
        classes: tuple[str, ...],
    ) -> None:
        """`pictures` of the rows, as many as can be read; None where they have no pictures, and are listed."""
        name = _short(label, classes, 24)
        alike = [near.similarity for near in rows if near.similarity is not None]
        about = f" · similarity {alike[0]:.2f}" if alike and pictures and self.size.width > 50 else ""
        self.border_title = Content.assemble(f"{role}: ", (name, "bold"), about)
        self._canvas.display, self._list.display = pictures is not None, pictures is None
        background = (0, 0, 0) if self.app.no_color else self.background_colors[1].rgb
        self._canvas.show(tile(pictures, background) if pictures else None)
        lines = [neighbour_line(near, max(self.size.width - 6, 20)) for near in rows]
        self._list.update(Content("\n").join(lines) if lines else Content.styled("none", _QUIET))


class Neighbours(Horizontal):
    """Rows like the sample in the given class, and in the class that competes with it, side by side."""

    def compose(self) -> ComposeResult:
        yield Examples(id="like-given")
        yield Examples(id="like-rival")


def neighbourhood(sample: Sample, width: int) -> Content:
    """The nearest rows in words: how often each label occurs among them, then row by row."""
    if not sample.nearest:
        return Content.styled("This row has no neighbours: it was not judged.", _QUIET)
    counts = Counter("no label" if near.label is None else near.label for near in sample.nearest).most_common()
    longest = max(room_of(label) for label, _ in counts)
    name_width = max(6, min(longest, width - 11))  # so that 6 columns are left for the longest bar
    bar_width = max(width - name_width - 5, 4)
    lines = [
        Content.assemble(
            _padded(_short(label, sample.classes, name_width), name_width + 1),
            ("█" * max(round(count / len(sample.nearest) * bar_width), 1), _label_style(label, sample)),
            f" {count}",
        )
        for label, count in counts[:5]
    ]
    lines += [Content(""), *(neighbour_line(near, width, sample) for near in sample.nearest)]
    return Content("\n").join([Content.styled(f"{len(sample.nearest)} nearest rows", "bold"), *lines])


def neighbour_line(near: Neighbour, width: int, sample: Sample | None = None) -> Content:
    """Similarity and id of a neighbour; the label, too, where it is one of the nearest of a `sample`, of any label."""
    similarity = "" if near.similarity is None else f"{near.similarity:.2f}  "
    label = ""
    if sample is not None:
        wide = _label_room(sample.nearest, width - len(similarity) - 2)
        label = _padded(_short(near.label, sample.classes, wide), wide + 2)
    room = max(width - len(similarity) - room_of(label), 8)
    return Content.assemble((similarity, _QUIET), label, (shorten_path(escape(near.id), room), _QUIET))


def _label_room(rows: Sequence[Neighbour], room: int) -> int:
    """Columns of the labels of rows that stand one below the other, of `room` for label and id: what the ids leave, or
    12 where these are long, of which 8 columns are left."""
    labels = max(room_of(near.label or "-") for near in rows)
    ids = max(room_of(escape(near.id)) for near in rows)
    return min(labels, max(6, min(max(room - ids, 12), room - min(ids, 8))))


def _short(label: str | None, classes: tuple[str, ...], width: int, none: str = "-") -> str:
    """A label in so many columns, `none` where there is no label."""
    return none if label is None else shorten(escape(short_name(label, classes, width)), width)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - room_of(text))


def _facts(sample: Sample, width: int, decision: Decision | None, settled: str, *, roomy: bool) -> list[Content]:
    values = sample.values
    issue = ISSUES.get(values["issue"], values["issue"])
    suggestion = values["suggested_label"]
    lines = [
        *_identity(sample, width),
        _label_line("given", values["given_label"], "$warning", width),
        _label_line("suggested", suggestion, "$success", width, values["suggestion_confidence"])
        if suggestion is not None
        else _line("suggested", Content.styled("nothing clear", _QUIET)),
        _line("p(wrong)", _bar(values["p_mislabel"], width - _NAME_WIDTH - 8)),
        *([_line("", Content(shorten(escape(settled), width - _NAME_WIDTH)))] if settled else []),
        _line("", Content(escape(f"{issue} → {values['action']}"))),
        *_curves("loss", sample.loss, width, roomy),
        *_curves("margin", sample.margin, width, roomy),
        *_decision_lines(decision, width),
    ]
    if values["error"]:
        lines += _bullets("", [escape(values["error"])], width)
    lines += _bullets("Why", [escape(reason) for reason in sample.reasons], width)
    copies = [
        f"{_short(copy.label, sample.classes, 24, 'no label')}: {shorten_path(escape(copy.id), max(width - 28, 12))}"
        for copy in sample.copies[:5]
    ]
    lines += _bullets("Same content", copies, width)
    chances = zip(values["top_labels"] or [], values["top_probs"] or [], strict=True)
    lines += _bullets(
        "Most probable", [f"{_short(label, sample.classes, 24)} {chance(p)}" for label, p in chances], width
    )
    return lines


def _blind_facts(sample: Sample, width: int, decision: Decision | None) -> list[Content]:
    return [
        *_identity(sample, width),
        _label_line("given", sample.values["given_label"], "$warning", width),
        Content(""),
        Content("Is this label right? What the audit thinks stays hidden until the sample is done."),
        *_decision_lines(decision, width),
    ]


def _identity(sample: Sample, width: int) -> list[Content]:
    lines = [_line("id", Content(shorten_path(escape(sample.values["id"]), width - _NAME_WIDTH)))]
    if split := sample.values["split"]:
        lines.append(_line("split", Content(shorten(escape(split), width - _NAME_WIDTH))))
    return lines


def _label_line(name: str, label: str | None, style: str, width: int, p: float | None = None) -> Content:
    probability = "" if p is None else f"{chance(p):>6}"
    text = "no label" if label is None else shorten(escape(label), max(width - _NAME_WIDTH - len(probability) - 1, 8))
    return _line(name, Content.assemble((text, f"bold {style}"), (probability, _QUIET)))


def _curves(name: str, curve: Curve, width: int, roomy: bool) -> list[Content]:
    """The row's own curve over the typical one, on one scale."""
    both = np.concatenate([curve.own, curve.typical])
    known = both[np.isfinite(both)]
    if not len(known):
        return []
    room = max(width - _NAME_WIDTH - 15, 8)
    size = {"wide": max(1, min(room // len(curve.own), 4)), "rows": 3 if roomy else 1}
    lines = [Content("")] if roomy else []
    for title, values, style in ((name, curve.own, "$accent"), ("  typical", curve.typical, _QUIET)):
        bars = sparkline(values, room, float(known.min()), float(known.max()), **size)
        lines += [_line("", Content.styled(bar, style)) for bar in bars[:-1]]
        lines.append(_line(title, Content.assemble((bars[-1], style), (_ends(values), _QUIET))))
    return lines


def _ends(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return f"  {known[0]:.1f} → {known[-1]:.1f}" if len(known) else "  not recorded"


def _decision_lines(decision: Decision | None, width: int) -> list[Content]:
    if decision is None:
        return []
    label = "" if decision.label is None else f" to {shorten(escape(decision.label), max(width - 30, 8))}"
    return [_line("decided", Content.styled(f"{decision.action}{label}", "reverse"))]


def _bullets(title: str, texts: Sequence[str], width: int) -> list[Content]:
    """A titled list, wrapped by hand so that lines hang."""
    if not texts:
        return []
    lines = [Content(""), *([Content.styled(title, "bold")] if title else [])]
    for text in texts:
        wrapped = Content(text).wrap(max(width - 2, 10))
        lines += [Content("• " if number == 0 else "  ") + part for number, part in enumerate(wrapped)]
    return lines


def _line(name: str, value: Content) -> Content:
    return Content.assemble((f"{name:<{_NAME_WIDTH}}", _QUIET), value)


def _bar(share: float | None, width: int) -> Content:
    if share is None:
        return Content.styled("not judged", _QUIET)
    width = max(min(width, 30), 5)
    full = round(share * width)
    return Content.assemble(("█" * full, "$error"), ("░" * (width - full), _QUIET), (f" {chance(share)}", "bold"))


def _label_style(label: str, sample: Sample) -> str:
    return "$warning" if label == sample.values["given_label"] else "$success" if label == sample.rival else "$accent"


def _even(pixels: np.ndarray, multiple: int) -> np.ndarray:
    """Height brought to a multiple of that many rows, width to an even number, by repeating the edge."""
    high, wide = -pixels.shape[0] % multiple, (-pixels.shape[1] % 2 if multiple == 4 else 0)
    return np.pad(pixels, ((0, high), (0, wide), (0, 0)), mode="edge") if high or wide else pixels


def _half_blocks(pixels: np.ndarray) -> list[list[Segment]]:
    """(2 h, w, 3) pixels as lines of segments. Cells of equal colours are joined."""
    steps = pixels.astype(np.int64) & ~3  # 64 levels: longer runs, and no eye sees it
    codes = (steps[..., 0] << 16) | (steps[..., 1] << 8) | steps[..., 2]
    lines = []
    for upper, lower in zip(codes[::2], codes[1::2], strict=True):
        starts = np.flatnonzero(np.r_[True, (upper[1:] != upper[:-1]) | (lower[1:] != lower[:-1])])
        lengths = np.diff(np.r_[starts, len(upper)])
        lines.append(
            [
                Segment("▀" * length, _two_colors(top, bottom))
                for top, bottom, length in zip(
                    upper[starts].tolist(), lower[starts].tolist(), lengths.tolist(), strict=True
                )
            ]
        )
    return lines


@lru_cache(maxsize=65536)
def _two_colors(top: int, bottom: int) -> Style:
    return Style(color=f"#{top:06x}", bgcolor=f"#{bottom:06x}")
