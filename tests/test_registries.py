"""Every table of methods: names, summaries, and what happens when a name is taken or unknown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.judge.detectors import DETECTORS
from cleanlab_lite.registry import NoFacts, Registry, Spec
from cleanlab_lite.train.losses import LOSSES
from cleanlab_lite.train.models import PROXIES
from cleanlab_lite.train.strategies import STRATEGIES

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
    registry = Registry("fruit", NoFacts)
    registry.register("pear", summary="green", paper="")(list)
    registry.register("apple", summary="red", paper="", needs=("tree",))(dict)
    with pytest.raises(ConfigError, match="unknown fruit 'xyz'") as caught:
        registry.get("xyz")
    assert caught.value.hint == "known: apple, pear"
    assert registry.get("apple") == Spec("apple", dict, "red", "", ("tree",), NoFacts())


def test_what_is_registered_for_a_while_is_gone_after_it():
    registry = Registry("fruit", NoFacts)
    registry.register("pear")(list)

    def two() -> None:
        registry.register("apple")(dict)
        assert registry.names() == ["apple", "pear"]
        registry.register("pear")(dict)

    for _ in range(2):
        with pytest.raises(ValueError, match="'pear' is registered twice"), registry.temporarily():
            two()
        assert registry.names() == ["pear"]


@dataclass(frozen=True)
class Taste:
    sweet: bool = True
    acid: float = 0.1

    def __post_init__(self) -> None:
        if self.acid < 0:
            raise ValueError(f"acid is {self.acid}, must not be negative")


def test_an_entry_carries_its_own_facts_and_the_others_have_defaults():
    registry = Registry("fruit", Taste)
    registry.register("pear")(list)
    registry.register("lemon", sweet=False)(list)
    assert [(spec.name, spec.facts) for spec in registry] == [("lemon", Taste(sweet=False)), ("pear", Taste())]


def test_unknown_and_wrong_facts_are_named_where_they_are_registered():
    registry = Registry("fruit", Taste)
    with pytest.raises(ValueError, match=r"fruit 'pear': unknown fact 'colour'; known: .*sweet, acid"):
        registry.register("pear", colour="green", acid=0.2)(list)
    with pytest.raises(ValueError, match=r"fruit 'pear': acid is -1, must not be negative"):
        registry.register("pear", acid=-1)(list)
    assert registry.names() == []
    with pytest.raises(ValueError, match="unknown fact 'takes'"):
        LOSSES.register("my_loss", takes=("image",))(list)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"takes": "vector"}, "takes is 'vector', must be a tuple of image, sound, vector"),
        ({"takes": ("picture",)}, "takes is"),
        ({"takes": ()}, "must hold one kind at least"),
        ({"takes": ("image",), "usual_for": ("vector",)}, "those of usual_for"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, must be positive"),
        ({"fewest_epochs": 0}, "fewest_epochs is 0, must be at least 1"),
    ],
)
def test_facts_of_a_proxy_that_cannot_be(facts, message):
    with pytest.raises(ValueError, match=message):
        PROXIES.register("mine", **facts)(list)
    assert "mine" not in PROXIES.names()


def test_every_kind_of_data_has_one_usual_proxy():
    usual = [kind for spec in PROXIES for kind in spec.facts.usual_for]
    assert sorted(usual) == ["image", "sound", "vector"]


def test_an_audit_sets_options_that_its_detectors_have():
    for spec in DETECTORS:
        assert set(spec.facts.given) <= dict(spec.options).keys()
    with pytest.raises(ValueError, match=r"given is .*, an audit can set trust, seed"):
        DETECTORS.register("mine", given=("labels",))(list)


# --- options behind the name ----------------------------------------------------------------------------------------


def ripen(
    tree: str,
    *,
    days: int = 3,
    sun: float | None = None,
    wet: bool = False,
    soil: str = "clay",
    rows: Sequence[int] | None = None,
    weights: dict[str, int] | None = None,
) -> None:
    """Fruit of every type of option."""  # fmt: skip


@pytest.fixture
def orchard() -> Registry:
    registry = Registry("fruit", NoFacts)
    registry.register("pear", summary="green", paper="")(ripen)
    registry.register("plum", summary="blue", paper="")(lambda tree: None)
    return registry


def test_options_are_the_keyword_only_parameters(orchard):
    assert dict(orchard.get("pear").options) == {
        "days": 3, "sun": None, "wet": False, "soil": "clay", "rows": None, "weights": None
    }  # fmt: skip
    assert orchard.get("plum").options == ()
    assert dict(STRATEGIES.get("mixup").options) == {"alpha": 1.0, "warmup": 0.1}


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("pear", {}),
        ("pear:days=7", {"days": 7}),
        (" pear : days = 7 , sun=.5", {"days": 7, "sun": 0.5}),
        ("pear:sun=none,wet=yes,soil=sand", {"sun": None, "wet": True, "soil": "sand"}),
        ("pear:sun=1,wet=False", {"sun": 1.0, "wet": False}),
        ("pear:rows=1+4+6", {"rows": [1, 4, 6]}),
    ],
)
def test_options_are_read_with_their_types(orchard, text, options):
    spec, found = orchard.parse(text)
    assert (spec.name, found) == ("pear", options)
    assert [type(value) for value in found.values()] == [type(value) for value in options.values()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("peer:days=3", "unknown fruit 'peer'"),
        ("pear:day=3", "unknown option 'day', did you mean 'days'?"),
        ("pear:days=3.5", "days is '3.5', must be a whole number"),
        ("pear:sun=hot", "sun is 'hot', must be a number"),
        ("pear:sun=nan", "sun is 'nan', must be a number"),
        ("pear:days=none", "days is 'none', must be a whole number"),
        ("pear:wet=maybe", "wet is 'maybe', must be true or false"),
        ("pear:rows=1+x", "rows is '1+x', must be a whole number"),
        ("pear:days", "'days' is not option=value"),
        ("pear:", "'' is not option=value"),
        ("pear:days=1,days=2", "days is given twice"),
        ("pear:weights=3", "weights is '3', must be set from Python"),
        ("plum:days=1", "fruit plum: unknown option 'days'"),
    ],
)
def test_a_wrong_option_is_named(orchard, text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        orchard.parse(text)


def test_all_wrong_options_are_named_at_once_and_the_right_ones_listed(orchard):
    with pytest.raises(ConfigError) as caught:
        orchard.parse("pear:dais=1,sun=x,wet=2")
    for part in ("'dais', did you mean 'days'?", "sun is 'x'", "wet is '2'"):
        assert part in caught.value.message
    assert "days=3, sun=None" in caught.value.hint


class Tree:
    def __init__(self, soil: str, *, height: float = 2.0) -> None: ...


class Grafted(Tree):
    def __init__(self, soil: str, *, branches: int = 1, **rest: float) -> None: ...


def test_the_rest_of_a_class_is_what_its_base_takes(orchard):
    orchard.register("grafted", summary="two trees", paper="")(Grafted)
    assert orchard.get("grafted").options == (("branches", 1), ("height", 2.0))
    assert orchard.parse("grafted:height=3,branches=2")[1] == {"height": 3.0, "branches": 2}


@every_method
def test_every_option_can_be_read(kind, spec):
    """Its annotation can be resolved, and its default said again in text where it has such a form."""
    for name, default in spec.options:
        if isinstance(default, bool | int | float | str):
            assert TABLES[kind].parse(f"{spec.name}:{name}={default}")[1] == {name: default}
