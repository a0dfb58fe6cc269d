"""`Summary`: the numbers about the whole set. `summary.json` is exactly its fields, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from cleanlab_lite.text import shorten

Facts = dict[str, Any]  # JSON types, as the stage that found them says it

T = TypeVar("T")


@dataclass(frozen=True)
class Audited:
    """The manifest in numbers."""

    path: str
    rows: int
    labelled: int
    classes: int
    modality: str  # image, sound or vector
    fingerprint: str = ""


FEW = 10  # rows of a class; fewer say nothing about its noise rate
MOSTLY = 0.5  # share of one confusion, from which it is most of what there is
LONGEST = 40  # characters of a value or a label in a sentence
PAIRS = 2  # mistakes of an annotator in a line
UNDECIDED = 0.5  # errors by confusion that are expected to be none, over the rate: from here on many may be uncounted
LARGEST, WIDEST = 0.5, 0.5  # noise rate and length of its interval, beyond which it is hardly determined


@dataclass(frozen=True)
class Noise:
    """Share of wrong labels, with the ends of its interval; None where it is not known."""

    estimate: float | None
    low: float | None
    high: float | None
    method: str

    @property
    def learned(self) -> bool:
        """Whether anything was learned from the labels; where not, no row is judged."""
        return "unknown" not in self.method

    @property
    def determined(self) -> bool:
        """Whether the labels tell how many of them are wrong, so that something may be done without a person."""
        if self.estimate is None or self.low is None or self.high is None or "uncalibrated" in self.method:
            return False
        return self.estimate <= LARGEST and self.high - self.low <= WIDEST


@dataclass(frozen=True)
class ClassNoise:
    """The rows with a given label. Shares are None for a class of fewer than `FEW` rows."""

    label: str
    rows: int
    flagged: int
    noise_rate: float | None
    low: float | None
    high: float | None

    @property
    def too_few(self) -> str:
        """What is said instead of a rate where the rows are too few for one; else ""."""
        return f"too few to judge (n = {self.rows})" if self.noise_rate is None and self.rows < FEW else ""


@dataclass(frozen=True)
class Confusion:
    """Rows with one label to which another one is suggested."""

    given: str
    suggested: str
    rows: int
    expected: float  # corrections of this pair that are probably right


@dataclass(frozen=True)
class Leak:
    """What two splits share, by one kind of copy."""

    split_a: str
    split_b: str
    kind: str
    rows_a: int  # of split_a, with a copy in split_b
    rows_b: int
    share_a: float  # of the rows of split_a
    share_b: float


@dataclass(frozen=True)
class NoisySource:
    """A value of one of the user's columns whose rows are noisier than those of the same class elsewhere."""

    column: str
    value: str  # "" where the cell is missing
    rows: int
    rate: float  # of wrong labels
    low: float  # ends of its 95 % interval
    high: float
    ratio: float  # of the rate to that of the other values, on the same rows
    q: float  # false discovery rate at which it would still be found
    given: str | None = None  # the wrong labels that it has most too many of: the label, and what it should be
    suggested: str | None = None
    confusion_share: float | None = None  # of all that it has too many

    @property
    def in_words(self) -> str:
        """ "rows of annotator B are 4.1 times noisier (q = 1e-06), mostly cat -> lynx"; strangers' text is in it."""
        value, given, suggested = (shorten(text or "", LONGEST) for text in (self.value, self.given, self.suggested))
        whose = f"of {self.column} {value}" if value else f"without {self.column}"
        text = f"rows {whose} are {self.ratio:.1f} times noisier (q = {self.q:.1g})"
        if self.confusion_share is None:
            return text
        return f"{text}, {'mostly' if self.confusion_share >= MOSTLY else 'often'} {given} -> {suggested}"


@dataclass(frozen=True)
class ClassPair:
    """Two classes that are taken for each other in both directions."""

    a: str
    b: str
    rows_a: int  # that carry the label
    rows_b: int
    a_like_b: float  # of the rows of a, expected number that should be b
    b_like_a: float

    @property
    def in_words(self) -> str:
        """A sentence on what to do; strangers' text is in it."""
        a, b = shorten(self.a, LONGEST), shorten(self.b, LONGEST)
        return (
            f"{a} and {b} are taken for each other: about {self.a_like_b:.0f} of {self.rows_a:,} rows of {a} could be "
            f"{b}, and {self.b_like_a:.0f} of {self.rows_b:,} the other way round; "
            "merge them, clarify the guideline, or allow two labels"
        )


@dataclass(frozen=True)
class Mistake:
    """What an annotator took for what."""

    consensus: str
    said: str
    votes: int


@dataclass(frozen=True)
class Annotator:
    """How reliable one of several annotators is."""

    annotator: str
    votes: int  # on judged rows
    quality: float  # share of right votes, by the consensus of all and the views; drawn to that of all annotators
    low: float  # ends of its 95 % interval
    high: float
    mistakes: list[Mistake]  # most votes first

    @property
    def in_words(self) -> str:
        """ "cat for dog (31)": the most frequent mistakes; "" where there are none. Strangers' text is in it."""
        pairs = [
            f"{shorten(each.said, LONGEST)} for {shorten(each.consensus, LONGEST)} ({each.votes:,})"
            for each in self.mistakes[:PAIRS]
        ]
        return ", ".join(pairs)


@dataclass(frozen=True)
class Summary:
    """Optional fields were added over time: older runs lack them."""

    schema_version: int
    manifest: Audited
    noise_rate: Noise
    flagged: int  # rows
    issues: dict[str, int]  # rows by issue
    actions: dict[str, int]  # rows by action
    reasons: dict[str, int]  # rows by reason
    classes: list[ClassNoise]
    confusions: list[Confusion]  # most rows first
    detectors: Facts = field(default_factory=dict)  # by detector
    run_id: str = ""
    evidence: list[str] = field(default_factory=list)  # kinds
    proxy: Facts | None = None  # None where nothing was trained
    search: Facts | None = None  # what `--strategy auto` tried and chose
    encoder: Facts | None = None
    warm_start: Facts | None = None
    device: str | None = None
    views: Facts | None = None  # by name: how well what looked at it predicts the given labels
    trusted: int = 0  # rows with a decision of people that the audit was given
    warnings: list[str] = field(default_factory=list)  # a sentence each
    duplicates: Facts | None = None
    leakage: list[Leak] = field(default_factory=list)
    provenance: list[NoisySource] = field(default_factory=list)  # clearest first
    overlaps: list[ClassPair] = field(default_factory=list)  # most rows first
    annotators: list[Annotator] = field(default_factory=list)  # least reliable first; where there are several

    @property
    def flagged_issues(self) -> dict[str, int]:
        """The flagged rows by issue; they add up to `flagged`. Of contradicting copies not all are flagged."""
        found = {name: self.issues.get(name, 0) for name in ("out_of_vocabulary", "mislabel")}
        found["duplicate_conflict"] = self.flagged - sum(found.values())
        return {name: found[name] for name in self.issues if found.get(name, 0) > 0}

    @property
    def other_issues(self) -> dict[str, int]:
        """The rows with an issue that are not flagged, by issue."""
        flagged = self.flagged_issues
        left = {name: rows - flagged.get(name, 0) for name, rows in self.issues.items() if name != "none"}
        return {name: rows for name, rows in left.items() if rows > 0}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Summary:
        """What `as_dict` gave. Fields of a newer version are passed over.

        Raises KeyError, TypeError or AttributeError where `stored` is something else, values of other types included.
        """
        values = _known(cls, stored) | {
            "manifest": _read(Audited, stored["manifest"]),
            "noise_rate": _read(Noise, stored["noise_rate"]),
            "classes": [_read(ClassNoise, each) for each in stored["classes"]],
            "confusions": [_read(Confusion, each) for each in stored["confusions"]],
            "leakage": [_read(Leak, each) for each in stored.get("leakage", ())],
            "provenance": [_read(NoisySource, each) for each in stored.get("provenance", ())],
            "overlaps": [_read(ClassPair, each) for each in stored.get("overlaps", ())],
            "annotators": [_annotator(each) for each in stored.get("annotators", ())],
        }
        return _checked(cls(**values))

    def as_dict(self) -> Facts:
        """JSON types."""
        return asdict(self)


def _annotator(stored: Mapping[str, Any]) -> Annotator:
    return _read(Annotator, {**stored, "mistakes": [_read(Mistake, each) for each in stored["mistakes"]]})


def _read(kind: type[T], stored: Mapping[str, Any]) -> T:
    return _checked(kind(**_known(kind, stored)))


def _checked(found: T) -> T:
    """`found`, a dataclass. Raises TypeError where a field is not of its type: what shows it counts on that."""
    kind: type = type(found)
    for name, hint in _hints(kind).items():
        if not _fits(value := getattr(found, name), hint):
            raise TypeError(f"{name!r} is {value!r:.60}")
    return found


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, hint: Any) -> bool:
    inner = get_args(hint)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(each, inner[0]) for each in value)
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(isinstance(key, str) and _fits(value[key], inner[1]) for key in value)
    if get_origin(hint) is UnionType:
        return any(_fits(value, each) for each in inner)
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return hint is Any or isinstance(value, hint)


def _known(kind: type, stored: Mapping[str, Any]) -> Facts:
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in stored.items() if name in names}
