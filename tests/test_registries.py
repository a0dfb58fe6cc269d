"""Every table of methods: names, summaries, and what happens when a name is taken or unknown."""

from __future__ import annotations

import re

import pytest

from cleanlab_lite.detectors import DETECTORS
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.losses import LOSSES
from cleanlab_lite.models import PROXIES
from cleanlab_lite.registry import Registry, Spec
from cleanlab_lite.strategies import STRATEGIES

TABLES = {registry.kind: registry for registry in (LOSSES, STRATEGIES, PROXIES, DETECTORS)}
METHODS = [(kind, spec) for kind, registry in TABLES.items() for spec in registry]

every_table = pytest.mark.parametrize("registry", TABLES.values(), ids=TABLES)
every_method = pytest.mark.parametrize(("kind", "spec"), METHODS, ids=[f"{kind} {spec.name}" for kind, spec in METHODS])


@every_method
def test_a_method_says_what_it_is(kind, spec):
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", spec.name)
    assert spec.summary and "\n" not in spec.summary and not spec.summary.endswith(".")
    assert callable(spec.function)
    assert spec.paper == "" or re.search(r"\b(19|20)\d\d\b", spec.paper), "a paper has a year"
    assert TABLES[kind].get(spec.name) is spec


@every_table
def test_a_name_cannot_be_taken_twice(registry):
    name = registry.names()[0]
    with pytest.raises(ValueError, match=f"{registry.kind} '{name}' is registered twice"):
        registry.register(name, summary="another", paper="")(lambda: None)
    assert registry.get(name).summary != "another"


@every_table
def test_a_table_lists_its_methods_in_order(registry):
    names = registry.names()
    assert names == sorted(set(names))
    assert [spec.name for spec in registry] == [spec.name for spec in registry.specs()] == names


@every_table
def test_a_misspelt_name_finds_its_neighbour(registry):
    name = max(registry.names(), key=len)
    with pytest.raises(ConfigError, match=f"unknown {registry.kind}") as caught:
        registry.get(name[:-1] + "_")
    assert name in caught.value.hint


def test_a_strange_name_gets_the_whole_list():
    registry = Registry("fruit")
    registry.register("pear", summary="green", paper="")(list)
    registry.register("apple", summary="red", paper="", needs=("tree",))(dict)
    with pytest.raises(ConfigError, match="unknown fruit 'xyz'") as caught:
        registry.get("xyz")
    assert caught.value.hint == "known: apple, pear"
    assert registry.get("apple") == Spec("apple", dict, "red", "", ("tree",))
