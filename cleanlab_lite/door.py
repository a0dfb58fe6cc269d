"""The door for Python: `audit(data)` takes what people have, `Report` does what the command line does with a run."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from cleanlab_lite import pipeline
from cleanlab_lite.config import FIELDS, AuditConfig, preset, validate
from cleanlab_lite.data.cache import default_cache_dir
from cleanlab_lite.data.objects import ObjectStore
from cleanlab_lite.errors import ConfigError, ManifestError, NlcleanError, ReportError
from cleanlab_lite.evidence.decisions import read_journal
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.evidence.own import own_evidence
from cleanlab_lite.export.export import export
from cleanlab_lite.export.formats import FORMATS, LINKS, POLICIES, Link, Policy
from cleanlab_lite.forecast import worth_timing
from cleanlab_lite.manifest.from_objects import from_objects
from cleanlab_lite.manifest.manifest import NO_FEATURES, Manifest
from cleanlab_lite.manifest.readers import check_policy, read_as
from cleanlab_lite.manifest.reading import ROLES, Reading
from cleanlab_lite.pipeline import run_key
from cleanlab_lite.progress import OnProgress, ignore
from cleanlab_lite.report.gate import Bound, Gate, judge, load_baseline, read_rows
from cleanlab_lite.report.page.html import build_page, write_page
from cleanlab_lite.report.page.notebook import INLINE, InlinePage, headline, html_view
from cleanlab_lite.report.reviewed import Reviewed, reviewed
from cleanlab_lite.run import Run, RunFolder
from cleanlab_lite.run.layout import REPORT
from cleanlab_lite.run.report import ReportTable
from cleanlab_lite.sources import source_of, workers_ready
from cleanlab_lite.text import counted
from cleanlab_lite.train.warm_start import read_warm_start

if TYPE_CHECKING:
    import pandas
    import polars

PathLike = str | os.PathLike[str]

OF_FILES = ("path_prefix", "path_suffix", "path_root")  # options of manifests that are files
OF_ROWS = (  # options that a Manifest has settled
    *(f"{role}_column" for role in ROLES),
    *("features_columns", "annotator_column", "layout", "multi_label"),
)
# In a message: a command in backticks, or an option with what may be its value ("--out DIR", "--max-drop 14%").
OPTION = re.compile(r"`[^`]*`|--([a-z]+(?:-[a-z]+)*)(?: (?!or |and )('[^']*'|[^\s,;)`]*[^\s,;:)`]))?")
WORDED = ("features", "format", "loss", "output", "proxy", "strategy", "weights")  # have words as values
SWITCHES = {
    "force": "force=True",
    "allow-remote": "allow_remote=True",
    **{f"no-{name}".replace("_", "-"): f"{name}=False" for name in FIELDS},
}


def audit(
    data: Any,
    labels: Any = None,
    *,
    classes: Sequence[str] | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    split_column: str | None = None,
    features_column: str | None = None,
    annotator_column: str | None = None,
    features: Any = None,
    features_columns: str | None = None,
    path_prefix: str | None = None,
    path_suffix: str | None = None,
    path_root: PathLike | None = None,
    layout: str | None = None,
    multi_label: str | None = None,
    segments: bool = True,
    history: PathLike | None = None,
    pred_probs: Any = None,
    warm_start: PathLike | None = None,
    trusted: PathLike | None = None,
    config: AuditConfig | None = None,
    out: PathLike | None = None,
    progress: bool | OnProgress | None = None,
    **options: Any,
) -> Report:
    """Find the wrong labels of a dataset.

    Args:
        data: a path or URL, a Manifest, a pandas or polars DataFrame, an Arrow table, a Hugging Face Dataset or
            DatasetDict, arrays (X, y) of vectors (n, d) or pictures (n, h, w, c), a list of PIL pictures, or a torch
            Dataset of (input, label). The columns of tables are detected by their names unless named here.
        labels: (n,) of arrays and pictures: strings, or integers; None and NaN mean not labelled.
        classes: names of the classes, where labels are integers from 0; -1 then means not labelled.
        id_column: of a pandas DataFrame also the name of its index.
        annotator_column: column that says who labelled an item, which has a row per annotator then; or names and
            patterns, with commas, of a column of labels per annotator; "none" where there is no such thing.
        features: (n, d) vectors to look at instead, or a file of them; "none" where rows have neither files nor vectors
            and `history` or `pred_probs` judge them, as with (None, y).
        features_columns: names or patterns, with commas, of columns of a table that hold one number each.
        path_prefix: text put before every path of a manifest.
        path_suffix: text put behind it.
        path_root: folder that the relative paths of a manifest start from.
        layout: the levels of a tree of class folders: "class", "split/class", "any/class", "class/class", "leaf",
            "path", "name" or "name:2" (in the names of the files).
        multi_label: a row with several labels has its "first", none ("drop"), or a class of its own ("whole").
        segments: whether columns like `start` and `end` may name parts of sounds.
        history: folder of `Recorder.save`; nothing is trained then.
        pred_probs: out-of-sample probabilities (n, k), or a file of them; nothing is trained then.
        warm_start: folder of an earlier run to start from.
        trusted: decided rows, which teach and are not flagged again: a reviewed run, its journal, or a table of ids and
            right labels.
        config: an AuditConfig; `options` are changes to it.
        out: folder of the run; a new one under nlclean-runs/ where not given. A run that was interrupted goes on.
        progress: None draws bars where somebody watches (terminal, notebook), True also lines elsewhere, False
            nothing; a callable gets every event.
        **options: `preset` ("fast", "balanced", "thorough") and the fields of AuditConfig.

    Raises:
        ManifestError: the data cannot be understood.
        ConfigError: an unknown name, a value out of range, options that do not fit the data.
        StoppedEarly: `time_budget` is used up; the same call goes on from there.

    >>> nlclean.audit(frame, label_column="species", epochs=8).flagged()
    """
    asked = Reading(
        path_column=path_column,
        label_column=label_column,
        id_column=id_column,
        split_column=split_column,
        features_column=features_column,
        annotator_column=annotator_column,
        features=features,
        features_columns=features_columns,
        path_prefix=path_prefix,
        path_suffix=path_suffix,
        path_root=path_root,
        layout=layout,
        multi_label=multi_label,
        segments=segments,
    )
    with _spoken_in_python(), _listener(progress) as on_progress:
        chosen = _configure(config, options)
        manifest = _manifest_of(data, labels, classes, asked, on_progress)
        evidence = own_evidence(manifest, history=history, pred_probs=pred_probs)
        with workers_ready(manifest, chosen, evidence=evidence):
            return _audit(manifest, chosen, evidence, warm_start, trusted, out, on_progress)


def _audit(
    manifest: Manifest,
    config: AuditConfig,
    evidence: Evidence | None,
    warm_start: PathLike | None,
    trusted: PathLike | None,
    out: PathLike | None,
    on_progress: OnProgress,
) -> Report:
    warm = None if warm_start is None else read_warm_start(Path(warm_start), manifest, evidence)
    people = None if trusted is None else pipeline.read_decided(Path(trusted), manifest)
    decided, asked = (None, None) if people is None else (people.decided, people.asked)
    folder, stem = None if out is None else Path(out), Path(manifest.source.path).stem
    source = source_of(manifest, config, evidence=evidence, warm=warm, decided=decided)
    with Run.start(folder, stem, run_key(manifest, config, evidence, warm, people)) as run:
        told = on_progress is not ignore and not run.finished
        told = told and worth_timing(len(manifest), source.facts.get("device"))
        forecast = source.forecast(manifest) if told else None
        found = pipeline.run_audit(
            manifest, config, run=run, source=source, on_progress=on_progress, forecast=forecast, asked=asked
        )
        if people is not None:
            pipeline.carry_decisions(people, run.folder, manifest)
        return Report(found.table, found.summary, run.folder)


def _manifest_of(
    data: Any, labels: Any, classes: Sequence[str] | None, asked: Reading, on_progress: OnProgress
) -> Manifest:
    """What the user says, whatever it is said in."""
    said = [name for name in OF_FILES if name in asked.given]
    if said and not isinstance(data, str | os.PathLike):
        raise ManifestError(f"{' and '.join(said)} go with a path, not with a {type(data).__name__}")
    of_file = isinstance(asked.features, str | os.PathLike)
    if not isinstance(data, str | os.PathLike | Manifest):
        if of_file and asked.features != NO_FEATURES:
            hint = "load it: features=numpy.load(...)"
            raise ManifestError(f"features= names a file, {str(asked.features)!r}", hint=hint)
        keep = ObjectStore(default_cache_dir(), on_progress)
        if asked.layout is not None:
            raise ConfigError(f"layout is about folders of classes, not about a {type(data).__name__}")
        check_policy(asked.multi_label)
        return from_objects(data, labels, classes=classes, asked=asked, keep=keep)
    if idle := [name for name, value in (("labels", labels), ("classes", classes)) if value is not None]:
        raise ManifestError(f"{' and '.join(idle)} go with objects in memory, not with a {type(data).__name__}")
    if isinstance(data, Manifest):
        settled = [name for name in OF_ROWS if name in asked.given]
        if settled or asked.features is not None:
            raise ManifestError(f"a Manifest has its columns settled: leave out {', '.join(settled) or 'features'}")
        return data
    if asked.features is not None and not of_file:
        raise ManifestError(f"features of the file {str(data)!r} come from a file too", hint="numpy.save them first")
    return read_as(data, asked, ObjectStore(default_cache_dir(), on_progress))


# --- options --------------------------------------------------------------------------------------------------------


def _configure(config: AuditConfig | None, options: dict[str, Any]) -> AuditConfig:
    """`config`, or that of a preset, with `options` in it. Raises ConfigError naming all that is wrong."""
    own = [name for name, parameter in PARAMETERS.items() if parameter.kind is parameter.KEYWORD_ONLY]
    known = ["labels", *own, "preset", *FIELDS]
    problems = []
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.55)
            problems.append(f"unknown {name!r}" + (f", did you mean {' or '.join(map(repr, near))}?" if near else ""))
    if problems:
        raise ConfigError("; ".join(problems), hint=f"names: {', '.join(known)}")
    if config is not None and not isinstance(config, AuditConfig):
        raise ConfigError(f"config is a {type(config).__name__}, expected an AuditConfig")
    if config is not None and "preset" in options:
        raise ConfigError("config and preset are both given", hint="leave one of them out")
    changes = {name: value for name, value in options.items() if name != "preset"}
    if config is not None:
        return validate(replace(config, **changes))
    return preset(options.get("preset", "balanced"), **changes)


@contextmanager
def _listener(progress: bool | OnProgress | None) -> Iterator[OnProgress]:
    """What `progress` stands for."""
    if isinstance(progress, str):
        raise ConfigError(f"progress is {progress!r:.60}, must be None, True, False, or a function of an event")
    if callable(progress):
        yield progress
    elif progress is False:
        yield ignore
    else:
        # The one place where the library knows the program: the drawing is there, and nothing but this asks for it.
        from nlclean.progress import Drawer, watched

        if progress or watched():
            with Drawer() as drawer:
                yield drawer
        else:
            yield ignore


@contextmanager
def _spoken_in_python() -> Iterator[None]:
    """Options in messages as keyword arguments: `--label-column` is `label_column=` here."""
    try:
        yield
    except NlcleanError as error:
        error.message, error.hint = (
            OPTION.sub(_as_argument, text).replace("the same command", "the same call")
            for text in (error.message, error.hint)
        )
        error.args = (error.message,)
        raise


def _as_argument(found: re.Match[str]) -> str:
    """`--max-drop 14%` is `max_drop=0.14`; a command in backticks is for the command line and stays."""
    option, value = found.groups()
    if option is None:
        return found[0]
    if option in SWITCHES:
        return SWITCHES[option] + (f" {value}" if value else "")
    name = option.replace("-", "_") + "="
    if value is None or (value.isalpha() and value.islower() and option not in WORDED):  # the sentence goes on
        return found[0].replace(f"--{option}", name)
    if value.endswith("%"):
        return f"{name}{float(value[:-1]) / 100:g}"
    return name + (value if value.startswith("'") or value.isdecimal() else repr(value))


# --- the report -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Report(ReportTable):
    """What an audit concludes: `table` (a row per sample, see docs/columns.md) and `summary`; `folder` is the run.

    The methods do what `nlclean export`, `report` and `check` do, under the same names.
    """

    folder: Path | None = field(default=None, compare=False)  # None: a report without its run folder
    data_roots: tuple[PathLike, ...] = field(default=(), compare=False)

    @classmethod
    def read(cls, path: PathLike | None = None, *, data_root: PathLike | Sequence[PathLike] = ()) -> Report:
        """A run folder or the report.parquet in it; the newest run under nlclean-runs/ where not given.

        For a run that was made elsewhere, files are opened only where they lie around it, or below `data_root`.
        """
        roots = (data_root,) if isinstance(data_root, str | os.PathLike) else tuple(data_root)
        given = None if path is None else Path(path)
        if given is not None and given.is_file() and given.name != REPORT:  # a report that was copied elsewhere
            found = ReportTable.read(given)
            return cls(found.table, found.summary)
        with _spoken_in_python():
            run = RunFolder(given)
            return cls(run.report.table, run.summary, run.folder, roots)

    @property
    def reviews(self) -> Reviewed | None:
        """What the decisions in the run folder say of all rows, read anew each time: `.in_words()`, `.flagged`,
        `.unflagged`, `.p`, `.stops(0.01)`. None with fewer than five decisions. See docs/review.md.
        """
        with _spoken_in_python():
            return reviewed(self.table, self._run().decisions)

    def to_pandas(self) -> pandas.DataFrame:
        """Every row as a pandas DataFrame."""
        _require("pandas")
        return self.table.to_pandas()

    def to_polars(self) -> polars.DataFrame:
        """Every row as a polars DataFrame."""
        return _require("polars").from_arrow(self.table)

    def export(
        self,
        format: str = "manifest",
        *,
        policy: Policy | None = None,
        output: PathLike | None = None,
        min_confidence: float = 0.0,
        max_drop_per_class: float = 1.0,
        max_drop: float | None = None,
        include_splits: str | Sequence[str] = (),
        decisions: PathLike | Sequence[PathLike] = (),
        link: Link = "hard",
        force: bool = False,
    ) -> Path:
        """Write the dataset without its wrong labels, or the findings for another program; where it was written.

        `format` and `policy` ("prune", "correct", "correct-prune", "weight", "decided") are those of docs/export.md.
        Decisions of people come before the tool's verdict: those of the run folder, or the files `decisions`. Raises
        ConfigError where something does not go together, and rather than overwrite (`force=True` does).
        """
        with _spoken_in_python():
            chosen = FORMATS[_one_of("format", format, tuple(FORMATS))]
            _one_of("link", link, LINKS)
            if policy is not None:
                _one_of("policy", policy, POLICIES)
            if policy is not None and chosen.kind == "review":
                raise ConfigError(f"the format {format} holds every row: policy= does nothing")
            if policy == "weight" and not chosen.weights:
                raise ConfigError(f"the format {format} has no place for weights")
            for name, share in (
                ("min_confidence", min_confidence),
                ("max_drop_per_class", max_drop_per_class),
                ("max_drop", max_drop),
            ):
                _bound(name, share, share=True)
            journals = [decisions] if isinstance(decisions, str | os.PathLike) else decisions
            run, files = self._run(), [Path(path) for path in journals]
            if chosen.tree:
                run.need_files()
            read = [decision for file in files for decision in read_journal(file)]
            return export(
                self,
                run.manifest,
                chosen,
                None if output is None else Path(output),
                policy=policy or "prune",
                min_confidence=min_confidence,
                max_drop_per_class=max_drop_per_class,
                max_drop=max_drop,
                include_splits=[include_splits] if isinstance(include_splits, str) else include_splits,
                decisions=read if files else run.decisions,
                link=link,
                force=force,
                inputs=files,
                beside=run.exports,
            ).path

    @overload
    def page(self, path: None = None) -> InlinePage: ...
    @overload
    def page(self, path: PathLike, *, force: bool = False) -> Path: ...
    def page(self, path: PathLike | None = None, *, force: bool = False) -> Path | InlinePage:
        """Write one offline page about the run: charts, pictures, a table to decide in. See docs/report.md.

        Without a path a notebook shows it, with fewer pictures: 4 MB. Decisions are downloaded from it.
        """
        with _spoken_in_python():
            if path is None:
                return InlinePage(build_page(self._run(), limit=INLINE))
            write_page(self._run(), Path(path), force=force)
        return Path(path)

    def check(
        self,
        *,
        max_noise: float | None = None,
        max_suspects: float | None = None,
        max_new_suspects: int | None = None,
        baseline: PathLike | None = None,
    ) -> Gate:
        """Hold the run against limits, and against a baseline; `.exceeded` says whether one is. See docs/check.md.

        `max_noise` is a share; `max_suspects` is a number of rows as an int, a share of the labelled rows as a float.
        New suspects are those that the baseline does not have; none is allowed where the limit is not given.
        """
        with _spoken_in_python():
            if max_new_suspects is not None and baseline is None:
                raise ConfigError("max_new_suspects needs baseline=: new since when?")
            run = self._run()
            return judge(
                self.summary,
                read_rows(self, run.decisions, run.lines.numbers),
                None if baseline is None else load_baseline(Path(baseline)),
                max_noise=_bound("max_noise", max_noise, share=True),
                max_suspects=_bound("max_suspects", max_suspects, share=isinstance(max_suspects, float)),
                max_new_suspects=0 if baseline is not None and max_new_suspects is None else max_new_suspects,
            )

    def _run(self) -> RunFolder:
        if self.folder is None:
            raise ReportError("this report knows no run folder", hint="Report.read(FOLDER) reads one with its folder")
        return RunFolder(self.folder, data_roots=self.data_roots)

    def __repr__(self) -> str:
        said = (
            f", {counted(len(self.summary.warnings), 'warning')} in summary.warnings" if self.summary.warnings else ""
        )
        return f"<Report: {headline(self)}{said}{f', in {self.folder}' if self.folder else ''}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the counts, and the twenty worst rows with their pictures."""
        return html_view(self, self._run() if self.folder is not None else None)


def _bound(name: str, value: float | None, *, share: bool) -> Bound | None:
    """A limit. A share above 1 would let everything pass: 5 where 0.05 was meant."""
    if value is not None and not isinstance(value, Real):
        raise ConfigError(f"{name} is {value!r:.60}, must be a number" + (", e.g. 0.05" if share else ""))
    if value is not None and not (0 <= value <= 1 if share else value >= 0):
        raise ConfigError(f"{name} is {value}, must be {'a share of 0 to 1, e.g. 0.05' if share else 'at least 0'}")
    return None if value is None else Bound(value, share)


def _one_of(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{name} is {value!r:.60}, must be one of {', '.join(known)}", hint=hint)
    return value


def _require(package: str) -> Any:
    """A package that the library itself can do without."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"{package} is not installed", hint=f"pip install {package}") from error


PARAMETERS = inspect.signature(audit).parameters
# What help() and editors show: the fields of AuditConfig by name, in the place of **options.
audit.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        *(parameter for parameter in PARAMETERS.values() if parameter.kind is not parameter.VAR_KEYWORD),
        inspect.Parameter("preset", inspect.Parameter.KEYWORD_ONLY, default="balanced", annotation="str"),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.kind.__name__)
            for name, each in FIELDS.items()
        ),
    ],
    return_annotation="Report",
)
