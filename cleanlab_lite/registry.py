"""A registry is a table of frozen rows that can print itself. A second registration of a name is an error."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cleanlab_lite.errors import ConfigError


@dataclass(frozen=True)
class Spec:
    """One method: how it is called, what it needs, where it comes from."""

    name: str
    function: Callable[..., Any]
    summary: str  # one line
    paper: str  # author, venue and year
    needs: tuple[str, ...] = ()  # evidence fields, or other prerequisites, by name


class Registry:
    """Named methods of one kind (`kind` is the noun used in messages)."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._specs: dict[str, Spec] = {}

    def register(
        self, name: str, *, summary: str, paper: str, needs: tuple[str, ...] = ()
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorator. Raises ValueError when `name` is taken."""

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            if name in self._specs:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._specs[name] = Spec(name, function, summary, paper, needs)
            return function

        return add

    def get(self, name: str) -> Spec:
        """The row called `name`. Raises ConfigError with the nearest names."""
        if name in self._specs:
            return self._specs[name]
        near = difflib.get_close_matches(name, self._specs, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(self.names())}"
        raise ConfigError(f"unknown {self.kind} {name!r}", hint=hint)

    def names(self) -> list[str]:
        return sorted(self._specs)

    def specs(self) -> list[Spec]:
        return [self._specs[name] for name in self.names()]

    def __iter__(self) -> Iterator[Spec]:
        return iter(self.specs())
