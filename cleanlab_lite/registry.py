"""A registry is a table of frozen rows that can print itself. A second registration of a name is an error.

What only one kind of method has, such as the learning rate of a proxy, is a frozen dataclass of that kind: the facts of
a row. They are given where the method is registered, and read from its row: no other module keeps a table by name.
"""

from __future__ import annotations

import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from cleanlab_lite.errors import ConfigError


@dataclass(frozen=True)
class NoFacts:
    """Of kinds of methods that have none of their own."""


Facts = TypeVar("Facts")  # a frozen dataclass whose fields all have defaults
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Spec(Generic[Facts]):
    """One method: how it is called, what it needs, where it comes from."""

    name: str
    function: Callable[..., Any]
    summary: str  # one line
    paper: str  # author, venue and year
    needs: tuple[str, ...]  # evidence fields, or other prerequisites, by name
    facts: Facts

    @property
    def options(self) -> tuple[tuple[str, Any], ...]:
        """(name, default) of every option: the keyword-only parameters of the function that have a default.

        What has none is given by us.
        """
        return tuple((p.name, p.default) for p in _keywords(self.function).values() if p.default is not p.empty)


Derive = Callable[[str], Spec[Facts] | None]  # of a name


class Registry(Generic[Facts]):
    """Named methods of one kind (`kind` is the noun used in messages), each with its `facts`."""

    def __init__(self, kind: str, facts: type[Facts]) -> None:
        self.kind = kind
        self._facts: Any = facts
        self._specs: dict[str, Spec[Facts]] = {}
        self._derive: Derive[Facts] = lambda _: None

    def derives(self, derive: Derive[Facts]) -> Derive[Facts]:
        """Decorator of what makes the rows of names that are not registered, by a rule; None for other names."""
        self._derive = derive
        return derive

    def register(
        self, name: str, *, summary: str = "", paper: str = "", needs: tuple[str, ...] = (), **facts: Any
    ) -> Callable[[Function], Function]:
        """Decorator. Raises ValueError when `name` is taken, or a fact is unknown or wrong."""

        def add(function: Function) -> Function:
            if name in self._specs:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            known = [field.name for field in fields(self._facts)]
            if unknown := [fact for fact in facts if fact not in known]:
                raise ValueError(
                    f"{self.kind} {name!r}: unknown fact {', '.join(map(repr, unknown))}; "
                    f"known: {', '.join(['summary', 'paper', 'needs', *known])}"
                )
            try:
                found = self._facts(**facts)
            except ValueError as error:
                raise ValueError(f"{self.kind} {name!r}: {error}") from None
            self._specs[name] = Spec(name, function, summary, paper, needs, found)
            return function

        return add

    @contextmanager
    def temporarily(self) -> Iterator[None]:
        """What is registered inside `with` is gone after it, so that it can be registered again."""
        before = dict(self._specs)
        try:
            yield
        finally:
            self._specs = before

    def get(self, name: str) -> Spec[Facts]:
        """The row called `name`. Raises ConfigError with the nearest names."""
        spec = self._specs.get(name) or self._derive(name)
        if spec is not None:
            return spec
        near = difflib.get_close_matches(name, self._specs, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(self.names())}"
        raise ConfigError(f"unknown {self.kind} {name!r}", hint=hint)

    def parse(self, text: str) -> tuple[Spec[Facts], dict[str, Any]]:
        """The method and the options in "name" or "name:option=value,option=value", typed as the function says.

        A list is written 1+4+6, and none is `none`. Raises ConfigError naming everything that is wrong with `text`.
        """
        name, colon, rest = text.partition(":")
        spec = self.get(name.strip())
        known = _keywords(spec.function)
        given: dict[str, Any] = {}
        problems = []
        for part in rest.split(",") if colon else ():
            option, equals, value = (side.strip() for side in part.partition("="))
            near = difflib.get_close_matches(option, known, n=1, cutoff=0.5)
            if not equals:
                problems.append(f"{part!r} is not option=value")
            elif option in given:
                problems.append(f"{option} is given twice")
            elif option not in known:
                problems.append(f"unknown option {option!r}" + (f", did you mean {near[0]!r}?" if near else ""))
            else:
                try:
                    given[option] = _read(value, known[option].annotation)
                except ValueError as error:
                    problems.append(f"{option} is {value!r}, must be {error}")
        if problems:
            options = ", ".join(f"{option}={default}" for option, default in spec.options)
            hint = f"options and defaults: {options}" if options else f"{spec.name} has no options"
            raise ConfigError(f"{self.kind} {spec.name}: {'; '.join(problems)}", hint=hint)
        return spec, given

    def names(self) -> list[str]:
        return sorted(self._specs)

    def specs(self) -> list[Spec[Facts]]:
        return [self._specs[name] for name in self.names()]

    def __iter__(self) -> Iterator[Spec[Facts]]:
        return iter(self.specs())


def _keywords(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a function or class; the `**rest` of a class stands for those of its base."""
    parameters = inspect.signature(function, eval_str=True).parameters
    found = {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    if isinstance(function, type) and any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        found |= _keywords(function.__mro__[1])
    return found


def _read(text: str, hint: Any) -> Any:
    """`text` as the type `hint`. Raises ValueError that says what it must be."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if types.NoneType in kinds and text.lower() == "none":
        return None
    for kind in kinds:
        if typing.get_origin(kind) is Sequence:
            return [_read(item, typing.get_args(kind)[0]) for item in text.split("+")]
    if bool in kinds:
        if text.lower() not in TRUTH:
            raise ValueError("true or false")
        return TRUTH[text.lower()]
    if str in kinds:
        return text
    for kind in (int, float):
        if kind in kinds:
            try:
                value = kind(text)
            except ValueError:
                raise ValueError(_NOUNS[kind]) from None
            if not math.isfinite(value):
                raise ValueError(_NOUNS[kind])
            return value
    raise ValueError("set from Python: it has no form in text")


TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_NOUNS: dict[type, str] = {int: "a whole number", float: "a number"}
