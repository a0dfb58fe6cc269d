"""`ReviewApp`: the screen of `nlclean review`. Keys become decisions; the queue and the journal do not know it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.theme import Theme
from textual.widget import Widget
from textual.widgets import Static

from cleanlab_lite.errors import DecodeError
from cleanlab_lite.evidence.decisions import Decision, agreement
from cleanlab_lite.report.keys import TERMINAL
from cleanlab_lite.report.reasons import ISSUES
from cleanlab_lite.report.reviewed import TARGET
from cleanlab_lite.run.columns import numbers
from cleanlab_lite.text import chance, counted, escape, renamed, shorten

from . import previews, state
from .player import Player
from .queue import KINDS, Queue, Value
from .samples import Neighbour, Sample, SampleReader
from .screens import Ask, Choice, Help, Pick
from .widgets import ROOMY, EvidencePane, Examples, Neighbours, PreviewPane, neighbourhood

THEME = Theme(
    "nlclean",
    primary="#7aa2c8",
    secondary="#8f8fa8",
    accent="#6fc3d0",
    warning="#e5a458",
    error="#d9676c",
    success="#86bd71",
    foreground="#d5d8de",
    background="#14161a",
    surface="#14161a",
    panel="#20242b",
    dark=True,
    variables={"quiet": "#858c98"},
)


class ReviewApp(App[None]):
    """Shows the rows of `queue` until they are decided, or the reviewer quits.

    `blind` hides what the audit thinks, for a calibration. `graphics` is a widget that draws pixels, None for blocks.
    """

    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012  as Textual declares them
    VERTICAL_BREAKPOINTS = [(0, "-low"), (ROOMY, "-high")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k", "decide('keep')"),
        Binding("a", "accept"),
        *(Binding(str(place), f"probable({place - 1})") for place in (1, 2, 3)),
        Binding("l", "label"),
        Binding("d", "decide('drop')"),
        Binding("u", "decide('unsure')"),
        Binding("s", "skip"),
        Binding("b", "bulk"),
        Binding("z", "undo"),
        Binding("f", "filter"),
        Binding("slash", "find"),
        Binding("p", "play"),
        Binding("right,down", "move(1)"),
        Binding("left,up", "move(-1)"),
        Binding("pagedown", "scroll(1)"),
        Binding("pageup", "scroll(-1)"),
        Binding("question_mark", "help"),
        Binding("q", "quit"),
    ]

    def __init__(
        self,
        samples: SampleReader,
        queue: Queue,
        *,
        blind: bool = False,
        target: float = TARGET,
        graphics: type[Widget] | None = None,
    ) -> None:
        # "without colour" then means no colour code at all; Textual by itself would write shades of grey
        super().__init__(ansi_color=True if os.environ.get("NO_COLOR") else None)
        self.register_theme(THEME)
        self.theme = THEME.name
        self.animation_level = "none"  # every frame would travel over SSH
        self.samples, self.queue, self.blind, self.target = samples, queue, blind, target
        self.failure: OSError | None = None  # of the journal
        self._graphics = graphics
        self._sound: previews.Sound | None = None
        self.player = Player()
        self._said = ""

    def compose(self) -> ComposeResult:
        yield Static(id="top", markup=False)
        with Horizontal(id="body"):
            yield PreviewPane(self._graphics, id="preview")
            with VerticalScroll(id="scroll", can_focus=False):
                yield EvidencePane(id="evidence")
        yield Neighbours(id="neighbours")
        yield Static(id="end", markup=False)
        yield Static(id="keys", markup=False)

    def on_mount(self) -> None:
        self._show()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def on_unmount(self) -> None:
        self.player.stop()

    # keys

    def action_decide(self, action: str, label: str | None = None) -> None:
        if self.queue.row is None:
            return
        try:
            decision = self.queue.decide(action, label)
        except OSError as error:
            self._give_up(error)
            return
        self._said = f"{self._told(decision)}: {decision.id}"
        self._show()

    def action_accept(self) -> None:
        if (row := self.queue.row) is None:
            return
        suggestion = self.samples.table["suggested_label"][row].as_py()
        if self.blind:
            self._warn("The suggestion is hidden while the flags are measured. k keeps, l gives a label.")
        elif suggestion is None:
            self._warn("There is no suggestion for this row. l gives a label.")
        else:
            self.action_decide("relabel", suggestion)

    def action_probable(self, place: int) -> None:
        if (row := self.queue.row) is None:
            return
        labels = self.samples.table["top_labels"][row].as_py() or []
        if self.blind:
            self._warn("Probable labels are hidden while the flags are measured. k keeps, l gives a label.")
        elif place >= len(labels):
            self._warn("The row has no such probable label. l gives a label.")
        else:
            self._give(row, labels[place])

    def _give(self, row: int, label: str) -> None:
        same = label == self.samples.table["given_label"][row].as_py()
        self.action_decide(*(("keep",) if same else ("relabel", label)))

    def action_skip(self) -> None:
        self.queue.skip()
        self._said = ""
        self._show()

    @work
    async def action_bulk(self) -> None:
        rows = self.queue.confused_alike()
        if self.blind or not len(rows):
            self._warn("There is no suggestion to accept for several rows here.")
            return
        values = self.samples.table.slice(int(rows[0]), 1).to_pylist()[0]
        right = round(float(np.nansum(numbers(self.samples.table, "suggestion_confidence")[rows])))
        one = len(rows) == 1
        what = "accept the one row there is" if one else f"accept all {len(rows):,}"
        about = "z takes it back" if one else f"about {right:,} right, {len(rows) - right:,} wrong; z takes it back"
        title = shorten(escape(self._named((values["given_label"], values["suggested_label"]))), 40)
        if await self.push_screen_wait(Pick(title, [(what, about, True)])):
            try:
                self.queue.accept(rows)
            except OSError as error:
                self._give_up(error)
                return
            self._said = f"accepted {len(rows):,}: {title}"
            self._show()

    @work
    async def action_label(self) -> None:
        if (row := self.queue.row) is None:
            return
        label = await self.push_screen_wait(Pick("Label", self._labels(row), new=True))
        if label is not None:
            self._give(row, label)

    def action_undo(self) -> None:
        try:
            undone = self.queue.undo()
        except OSError as error:
            self._give_up(error)
            return
        more = f" of {len(undone):,} rows" if len(undone) > 1 else ""
        self._said = f"undone: {self._told(undone[0])}{more}" if undone else "nothing to undo"
        self._show()

    @work
    async def action_filter(self) -> None:
        kinds = ("class",) if self.blind else KINDS
        choices: list[Choice] = [("all rows", "", dict.fromkeys(KINDS))] if self.queue.filters else []
        for kind in kinds:
            choices += [
                (self._filter_name(kind, value), f"{count:,}", {kind: value})
                for value, count in self.queue.choices(kind)
            ]
        picked = await self.push_screen_wait(Pick("Filter", choices))
        if picked is not None:
            self.queue.filter(**picked)
            self._said = ""
            self._show()

    @work
    async def action_find(self) -> None:
        text = await self.push_screen_wait(Ask("Find", "an id, a part of one, or a position"))
        if not text:
            return
        if self.queue.jump(text):
            self._said = ""
            self._show()
        else:
            self._warn(f"No row has {escape(text)!r} in its id.")

    def action_move(self, steps: int) -> None:
        self.queue.move(steps)
        self._said = ""
        self._show()

    def action_scroll(self, pages: int) -> None:
        scroll = self.query_one("#scroll", VerticalScroll)
        scroll.scroll_relative(y=pages * max(scroll.size.height - 1, 1), animate=False)

    def action_play(self) -> None:
        if self._sound is None:
            self._warn("There is no sound to play.")
        elif self.player.playing:
            self.player.stop()
        elif not self.player.play(self._sound):
            self._warn("No player was found. Install one of afplay, paplay, aplay or ffplay.")

    def action_help(self) -> None:
        self.push_screen(Help([(key.key, key.meaning) for key in TERMINAL]))

    # drawing

    def _show(self) -> None:
        self.player.stop()
        row = self.queue.row
        self.query_one("#top", Static).update(self._top_line())
        self.query_one("#keys", Static).update(_key_line(self.size.width))
        for name in ("#body", "#neighbours"):
            self.query_one(name).display = row is not None
        self.query_one("#end").display = row is None
        if row is None:
            self.query_one("#end", Static).update(self._end())
            return
        sample = self.samples.sample(row)
        decision = self.queue.decision(row)
        if decision is not None:
            decision = replace(decision, label=renamed(decision.label, self.samples.names))
        self.query_one(EvidencePane).show(sample, decision, self._settled(sample), blind=self.blind)
        self.query_one("#scroll").scroll_home(animate=False)
        self.query_one(Neighbours).display = not self.blind
        none = () if self.samples.modality == "image" else None  # yet
        self._show_neighbours(sample, none, none)
        preview = self.query_one(PreviewPane)
        self._sound = None
        if self.samples.modality == "vector":
            preview.say(neighbourhood(sample, max(preview.size.width - 4, 20)))
        else:
            self._load(sample)

    @work(thread=True, exclusive=True, group="files")  # a group of its own: those of dialogs are not to be cancelled
    def _load(self, sample: Sample) -> None:
        """Read the files: they may be large, or far away."""
        loaded: previews.Drawing | DecodeError
        place = self.samples.uri(sample.row), self.samples.modality, self.samples.segment(sample.row)
        decoded = self.samples.decoded(sample.row)
        try:
            loaded = previews.drawing(*place) if decoded is None else previews.drawing_of(decoded)
        except DecodeError as error:
            loaded = error
        self.call_from_thread(self._loaded, sample, loaded)
        if self.samples.modality == "image" and not self.blind:
            pictures = [self._thumbnails(rows) for rows in (sample.given, sample.suggested)]
            self.call_from_thread(self._show_neighbours, sample, *pictures)

    def _loaded(self, sample: Sample, loaded: previews.Drawing | DecodeError) -> None:
        if sample.row != self.queue.row:
            return
        preview = self.query_one(PreviewPane)
        if isinstance(loaded, DecodeError):
            lines = [escape(str(loaded)), "", shorten(escape(self.samples.uri(sample.row)), 200)]
            preview.say(Content.styled("\n".join(lines), "$quiet"))
            return
        self._sound = loaded.sound
        preview.draw(loaded.paint, loaded.caption + (" · p plays" if loaded.sound else ""))

    def _thumbnails(self, rows: tuple[Neighbour, ...]) -> list[np.ndarray]:
        found = []
        for near in rows:
            try:
                found.append(self._neighbour_picture(near.row))
            except DecodeError:
                continue  # that file is a row of the report itself
        return found

    def _neighbour_picture(self, row: int) -> np.ndarray:
        decoded = self.samples.decoded(row)
        return previews.neighbour_picture(self.samples.uri(row)) if decoded is None else decoded.transpose(1, 2, 0)

    def _show_neighbours(
        self, sample: Sample, given: Sequence[np.ndarray] | None, suggested: Sequence[np.ndarray] | None
    ) -> None:
        if sample.row != self.queue.row:
            return
        role = "suggested" if sample.values["suggested_label"] is not None else "next best"
        self.query_one("#like-given", Examples).show(
            "given", sample.values["given_label"], sample.given, given, sample.classes
        )
        self.query_one("#like-rival", Examples).show(role, sample.rival, sample.suggested, suggested, sample.classes)

    def _top_line(self) -> Content:
        queue, width = self.queue, self.size.width
        title = "nlclean calibration" if self.blind else "nlclean review"
        place = f"{min(queue.position + 1, len(queue.visible)):,} of {len(queue.visible):,} · {queue.left:,} left"
        filters = " ".join(f"[{escape(self._filter_name(kind, value))}]" for kind, value in queue.filters.items())
        said = escape(self._said)
        about = f"{shorten(escape(queue.reviewer), 12)} · {shorten(escape(self.samples.name), 20)}"
        room = max(width - len(title) - len(place) - len(about) - 8, 0)
        middle = shorten(" ".join(text for text in (filters, said) if text), room) if room > 8 else ""
        left = Content.assemble((f" {title} ", "bold $primary"), (f" {about}  ", "$quiet"), middle)
        return left + Content(" " * max(width - left.cell_length - len(place) - 1, 1)) + Content.styled(place, "bold")

    def _end(self) -> Content:
        """What is said when nothing is left."""
        decisions = self.queue.log.read()
        if self.queue.filters:
            first = "All rows of this filter are decided. f shows others, z takes the latest decision back."
        elif len(self.queue.rows):
            first = (
                f"All is decided: {counted(len(self.queue.rows), 'row')}. z takes the latest decision back, q quits."
            )
        elif self.blind:
            first = "Nothing to decide: the audit has judged no row, see `nlclean report`. q quits."
        else:
            first = "Nothing to review: no row has an issue. q quits."
        lines = [Content.styled(first, "bold"), Content("")]
        lines.append(Content(state.progress_line(decisions, self.queue.reviewer)))
        if self.blind:
            found = state.calibration_lines(self.samples.table, decisions, self.target)
            lines += [Content(""), *(Content(line) for line in found)]
            if state.others_to_decide(self.samples.table, decisions, self.queue.reviewer):
                lines.append(Content("The same command goes on with other rows."))
        agreed = agreement(decisions)
        if len(agreed.reviewers) > 1:
            lines += [Content(""), Content(state.agreement_line(agreed))]
        return Content("\n").join(lines)

    def _labels(self, row: int) -> list[Choice]:
        """The classes, the most probable ones first; in a calibration by name, which gives nothing away."""
        values = self.samples.table.slice(row, 1).to_pylist()[0]
        chances = {} if self.blind else dict(zip(values["top_labels"] or [], values["top_probs"] or [], strict=True))
        given = values["given_label"]
        order = [*chances, *(label for label in self.samples.classes if label not in chances)]
        about = {label: chance(p) for label, p in chances.items()} | {given: "as given"}
        return [(self._named(label), about.get(label, ""), label) for label in order]

    def _settled(self, sample: Sample) -> str:
        """Of the labels of one content at most one is right: what was decided of a contradicting copy."""
        if sample.values["issue"] != "duplicate_conflict":
            return ""
        for copy in sample.copies:
            decision = self.queue.decision(copy.row)
            if decision is not None and decision.action in ("keep", "relabel"):
                label = copy.label if decision.label is None else self._named(decision.label)
                return f"its copy was {'kept as' if decision.action == 'keep' else 'relabelled'} {label}"
        return ""

    def _filter_name(self, kind: str, value: Value) -> str:
        return f"{kind} {ISSUES.get(str(value), value) if kind == 'issue' else self._named(value)}"

    def _named(self, value: Value) -> str:
        """A label or a pair of them, to be shown."""
        return " → ".join(renamed([value] if isinstance(value, str) else value, self.samples.names))

    def _told(self, decision: Decision) -> str:
        return decision.action if decision.label is None else f"{decision.action} to {self._named(decision.label)}"

    def _warn(self, message: str) -> None:
        self.notify(message, severity="warning", timeout=4, markup=False)

    def _give_up(self, error: OSError) -> None:
        """The journal cannot be written: rather stop than let the reviewer work for nothing."""
        self.failure = error
        self.exit()


def _key_line(width: int) -> Content:
    parts = [Content.assemble((key.key, "bold $accent"), f" {key.word}") for key in TERMINAL if key.word]
    return Content("   " if width >= 100 else " ").join(parts)
