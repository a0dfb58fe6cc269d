"""Dialogs. Each returns a value, or None when it is left with Escape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from cleanlab_lite.text import escape, short_name, shorten

SHOWN = 200  # options at a time; typing narrows them down

Choice = tuple[str, str, Any]  # what to search in, what stands behind it, the value to return


class Dialog(ModalScreen[Any]):
    """A box in the middle of the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(None)", "Cancel")]

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as box:
            box.border_title = Content(self._title)
            yield from self.content()

    def content(self) -> ComposeResult:
        yield from ()


class Pick(Dialog):
    """Type to narrow down, arrows to choose, Enter to take. `new` offers what was typed when no choice equals it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("down", "move('cursor_down')", "Next"),
        ("up", "move('cursor_up')", "Previous"),
        ("pagedown", "move('page_down')", "Page down"),
        ("pageup", "move('page_up')", "Page up"),
    ]

    def __init__(self, title: str, choices: Sequence[Choice], *, new: bool = False) -> None:
        super().__init__(title)
        self._choices, self._new = choices, new
        self._values: list[Any] = []

    def content(self) -> ComposeResult:
        yield Input(placeholder="type to narrow down" if len(self._choices) > 1 else "Enter takes it, Esc leaves it")
        options = OptionList(markup=False)
        options.can_focus = False
        yield options

    def on_mount(self) -> None:
        self._narrow("")

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._narrow(event.value)

    @on(Input.Submitted)
    def _taken(self) -> None:
        highlighted = self.query_one(OptionList).highlighted
        if highlighted is not None:
            self.dismiss(self._values[highlighted])

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._values[event.option_index])

    def action_move(self, how: str) -> None:
        getattr(self.query_one(OptionList), f"action_{how}")()

    def _narrow(self, text: str) -> None:
        wanted = text.casefold().strip()
        found = [choice for choice in self._choices if wanted in choice[0].casefold()]
        # what starts with the text stands before what only holds it
        found.sort(key=lambda choice: not choice[0].casefold().startswith(wanted))
        names = tuple(choice[0] for choice in self._choices)
        entries = [
            (Content.assemble(shorten(escape(short_name(name, names, 40)), 40), (f"  {about}", "$quiet")), value)
            for name, about, value in found[:SHOWN]
        ]
        if self._new and wanted and all(choice[0] != text.strip() for choice in self._choices):
            new = Content.assemble(shorten(escape(text.strip()), 40), ("  a new label", "$quiet"))
            entries.append((new, text.strip()))
        self._values = [value for _, value in entries]
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(entry) for entry, _ in entries])
        options.highlighted = 0 if entries else None


class Ask(Dialog):
    """One line of text."""

    def __init__(self, title: str, placeholder: str) -> None:
        super().__init__(title)
        self._placeholder = placeholder

    def content(self) -> ComposeResult:
        yield Input(placeholder=self._placeholder)

    @on(Input.Submitted)
    def _taken(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())


class Help(Dialog):
    """What the keys do. Any key leaves it."""

    def __init__(self, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__("Keys")
        self._keys = keys

    def content(self) -> ComposeResult:
        lines = [Content.assemble((f"{key:>11}", "bold"), f"  {meaning}") for key, meaning in self._keys]
        yield Static(Content("\n").join(lines))

    def on_key(self, event: Key) -> None:
        event.stop()  # or the row behind would be decided
        self.dismiss(None)
