"""The door for Python: public names, what `audit` takes, and a Report that does what the commands do."""

from __future__ import annotations

import ast
import html
import inspect
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from audit_world import CLASSES, OPTIONS, picture, save_pictures, task, vector_parquet, vectors, write_csv
from cli_world import HOSTILE, call, make_report, mislabel, on_terminal, row

import cleanlab_lite
import nlclean
from cleanlab_lite.config import FIELDS, AuditConfig
from cleanlab_lite.door import _spoken_in_python
from cleanlab_lite.errors import ConfigError, EvidenceError, ManifestError, ReportError
from cleanlab_lite.evidence.decisions import Decision, DecisionLog
from cleanlab_lite.progress import Progress
from cleanlab_lite.report.page.notebook import html_view

pytestmark = pytest.mark.usefixtures("here")

ROOT = Path(__file__).parents[1]
TASK = task()
LABELS = [CLASSES[label] for label in TASK.labels]
ENCODED = OPTIONS | {"views": "encoder", "image_size": 32}


def frame() -> pd.DataFrame:
    return pd.DataFrame({"embedding": list(vectors(TASK.truth)), "label": LABELS})


def flagged(report: nlclean.Report) -> list[int]:
    return sorted(int(id.removeprefix("r")) for id in report.flagged()["id"].to_pylist())


@pytest.fixture(scope="module")
def audited(tmp_path_factory) -> Path:
    """A finished run on pictures that have no files."""
    base = tmp_path_factory.mktemp("door")
    pictures = [picture(int(kind), seed=row) for row, kind in enumerate(TASK.truth)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLCLEAN_CACHE_DIR", str(base / "cache"))
        report = nlclean.audit(pictures, LABELS, out=str(base / "run"), **ENCODED)
    assert report.folder == base / "run"
    return base / "run"


@pytest.fixture
def run(audited, here) -> Path:
    return Path(shutil.copytree(audited, here / "run"))


# --- names ----------------------------------------------------------------------------------------------------------


def in_a_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_both_packages_offer_the_same_objects():
    for name in cleanlab_lite.__all__:
        assert getattr(nlclean, name) is getattr(cleanlab_lite, name)
    assert {*cleanlab_lite.__all__, "__version__"} == set(nlclean.__all__) == set(dir(nlclean))
    assert set(cleanlab_lite.__all__) == set(dir(cleanlab_lite))
    assert nlclean.__version__ == nlclean.version()
    with pytest.raises(AttributeError, match="audti"):
        _ = nlclean.audti


def test_no_module_shadows_a_public_name():
    """Importing a submodule makes it an attribute of its package, in the place of a function of the same name."""
    for package in (nlclean, cleanlab_lite):
        folder = Path(package.__file__).parent
        modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/*.py")}
        assert modules & set(package.__all__) == set()


@pytest.mark.parametrize("package", [nlclean, cleanlab_lite])
def test_type_checkers_see_what_is_there(package):
    tree = ast.parse(Path(package.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    named = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert named == set(package.__all__) - {"__version__"}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    assert "py.typed" in settings["package-data"][package.__name__]
    assert (Path(package.__file__).parent / "py.typed").exists()


def test_an_import_loads_nothing_and_looking_around_loads_no_torch():
    heavy = "print(*sorted({'torch', 'numpy', 'pyarrow', 'sklearn', 'rich', 'click', 'pandas'} & set(sys.modules)))"
    assert in_a_new_process(f"import sys, nlclean, cleanlab_lite; dir(nlclean); {heavy}") == ""
    every = "[getattr(nlclean, name) for name in nlclean.__all__ if name != 'PROXIES']"  # networks
    code = f"import sys, nlclean; {every}; print('torch' in sys.modules)"
    assert in_a_new_process(code) == "False"


def test_help_names_every_option():
    parameters = inspect.signature(nlclean.audit).parameters
    assert set(FIELDS) | {"data", "labels", "label_column", "preset", "config", "out", "progress"} <= set(parameters)
    assert "VAR" not in str([parameter.kind for parameter in parameters.values()])


# --- audit ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        frame,
        lambda: pl.from_pandas(frame()),
        lambda: (vectors(TASK.truth), LABELS),
        lambda: vector_parquet(Path("x.parquet"), TASK),
        lambda: nlclean.read_manifest(vector_parquet(Path("x.parquet"), TASK)),
    ],
    ids=["pandas", "polars", "arrays", "path", "manifest"],
)
def test_planted_errors_are_found_in_anything(make):
    report = nlclean.audit(make(), **OPTIONS)
    assert flagged(report) == TASK.wrong.tolist()
    assert report.folder is not None and (report.folder / "report.parquet").exists()


def test_a_finished_run_of_the_same_object_is_read_and_not_repeated(run, audited):
    pictures = [picture(int(kind), seed=row) for row, kind in enumerate(TASK.truth)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLCLEAN_CACHE_DIR", str(audited.parent / "cache"))
        before = (audited / "run.json").read_bytes()
        events: list[Progress] = []
        again = nlclean.audit(pictures, LABELS, out=str(audited), progress=events.append, **ENCODED)
    assert events == [] and (audited / "run.json").read_bytes() == before
    assert again.table.equals(nlclean.Report.read(run).table)


def test_a_config_is_taken_and_changed_by_options(here):
    config = AuditConfig(**OPTIONS, seed=3)
    report = nlclean.audit(frame(), config=config, epochs=np.int64(1), out="run")
    stored = json.loads((here / "run" / "run.json").read_text())["configuration"]
    assert (stored["seed"], stored["epochs"], stored["ensemble"]) == (3, 1, 2)
    assert report.summary.proxy["epochs"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epoch": 3}, "unknown 'epoch', did you mean 'epochs'"),
        ({"label": "x"}, "unknown 'label', did you mean .*'label_column'"),
        ({"lable_colum": "x", "sed": 1}, "'label_column'.*; unknown 'sed', did you mean 'seed'"),
        ({"on_progress": print}, "unknown 'on_progress'.*'progress'"),
        ({"epochs": "8"}, "epochs is '8', must be a whole number"),
        ({"epochs": 2.5}, "epochs is 2.5, must be a whole number"),
        ({"epochs": True}, "must be a whole number"),
        ({"second_split": 1}, "must be true or false"),
        ({"l1": float("nan")}, "l1 is nan, must be a number"),
        ({"device": 0}, "device is 0, must be text"),
        ({"epochs": -1}, "epochs is -1, must be at least 1, or 0"),
        ({"preset": "quick"}, "unknown preset 'quick'"),
        ({"preset": None}, "unknown preset None"),
        ({"preset": ["fast"]}, "unknown preset"),
        ({"time_budget": "5m"}, "time_budget is '5m', must be a number of seconds"),
        ({"progress": "bar"}, "progress is 'bar', must be None, True, False"),
        ({"preset": "fast", "config": AuditConfig()}, "both given"),
        ({"config": {"epochs": 3}}, "config is a dict"),
    ],
)
def test_options_that_do_not_exist_or_do_not_fit(here, options, said):
    with pytest.raises(ConfigError, match=said):
        nlclean.audit(frame(), **options)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((frame(),), {"label_column": "lable"}, "did you mean 'label'"),
        ((frame().drop(columns="label"),), {}, "name it with label_column="),
        (("x.parquet", LABELS), {}, "labels go with objects in memory"),
        (("x.parquet",), {"features": np.ones((2, 2))}, "come from a file too"),
        ((frame()[["label"]],), {"features": "x.npy"}, "load it"),
        (("y.parquet",), {}, "does not exist"),
        ((3,), {}, "cannot audit a int alone"),
    ],
)
def test_data_that_cannot_be_understood(arguments, options, said):
    with pytest.raises(ManifestError, match=said) as caught:
        nlclean.audit(*arguments, **options)
    assert "--" not in str(caught.value)


def test_probabilities_as_an_array():
    sure = np.full((150, 3), 0.05) + 0.85 * np.eye(3)[TASK.truth]
    report = nlclean.audit((vectors(TASK.truth), TASK.labels), pred_probs=sure, classes=["owl", "cat", "dog"])
    assert report.summary.evidence == ["pred_probs", "features"]
    wrong = set(map(str, TASK.wrong))
    assert set(report.suspicious()["id"].to_pylist()[: len(wrong)]) == wrong
    with pytest.raises(EvidenceError, match=r"pred_probs holds float64 \(150, 2\)"):
        nlclean.audit((vectors(TASK.truth), TASK.labels), pred_probs=sure[:, :2])


# --- progress -------------------------------------------------------------------------------------------------------

SLOW = """
import sys, numpy, nlclean, nlclean.progress

nlclean.progress.PATIENCE = 1e-9
seen = numpy.random.default_rng(0).random((2100, 3))  # copies are searched in two blocks
for progress in (None, True, False):
    print(f"<{progress}>", file=sys.stderr, flush=True)
    out = f"run-{progress}"
    nlclean.audit((seen, seen.argmax(1)), pred_probs=seen / seen.sum(1, keepdims=True), progress=progress, out=out)
"""


def drawn(shown: str, what: str) -> dict[str, bool]:
    """Whether `what` is shown, by the value of `progress`."""
    _, *parts = re.split("<(None|True|False)>", shown)
    return {name: what in text for name, text in zip(parts[::2], parts[1::2], strict=True)}


def test_bars_on_a_terminal():
    out, shown = on_terminal("-c", SLOW, stdout=subprocess.PIPE)
    assert out == ""
    assert drawn(shown, "duplicates") == {"None": True, "True": True, "False": False}


def test_lines_where_there_is_no_terminal_and_they_are_asked_for(monkeypatch, capsys):
    monkeypatch.setattr("nlclean.progress.PATIENCE", None)  # set in there, and as it was afterwards
    exec(SLOW, {})
    out, shown = capsys.readouterr()
    assert out == ""
    assert drawn(shown, "duplicates: ") == {"None": False, "True": True, "False": False}


def test_a_notebook_draws_bars_where_ipywidgets_are_there(monkeypatch):
    from types import SimpleNamespace

    from nlclean import progress

    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(progress, "find_spec", lambda name: name)
    assert progress.watched()
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    assert not progress.watched()


# --- the report -----------------------------------------------------------------------------------------------------


def test_a_report_is_read_from_a_folder_a_file_or_the_newest_run(run, here):
    expected = nlclean.Report.read(str(run))
    assert expected.folder is not None and expected.folder.samefile(run)
    assert nlclean.Report.read(run / "report.parquet").folder == run
    (here / "nlclean-runs").mkdir()
    shutil.copytree(run, here / "nlclean-runs" / "new")
    assert nlclean.Report.read().table.equals(expected.table)
    shutil.copy(run / "report.parquet", here / "kept.parquet")
    alone = nlclean.Report.read("kept.parquet")
    assert alone.table.equals(expected.table) and alone.folder is None
    with pytest.raises(ReportError, match="does not exist"):
        nlclean.Report.read("nowhere")


def test_tables_of_other_libraries(run):
    report = nlclean.Report.read(run)
    assert report.to_pandas()["id"].tolist() == report.to_polars()["id"].to_list() == report.table["id"].to_pylist()


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, []),
        ({"policy": "correct", "min_confidence": 0.6}, ["--policy", "correct", "--min-confidence", "0.6"]),
        ({"format": "patch"}, ["--format", "patch"]),
        ({"format": "cleanlab"}, ["--format", "cleanlab"]),
    ],
)
def test_an_export_is_that_of_the_command(run, capsys, options, flags):
    ending = {"patch": "jsonl"}.get(options.get("format"), "csv")
    written = nlclean.Report.read(run).export(**options, output=f"python.{ending}")
    assert written == Path(f"python.{ending}")
    assert call(capsys, "export", run, *flags, "--output", f"command.{ending}").code == 0
    assert written.read_bytes() == Path(f"command.{ending}").read_bytes()


def test_pictures_without_files_are_exported_to_folders(run):
    report = nlclean.Report.read(run)
    target = report.export("folders", output="clean", link="copy")
    kept = sorted(path for path in target.rglob("*.png"))
    assert len(kept) == 150 - len(TASK.wrong)
    assert {path.parent.name for path in kept} == set(CLASSES)


def test_decisions_come_before_the_verdict(run):
    report = nlclean.Report.read(run)
    wrong = report.flagged().slice(0, 1).to_pylist()[0]
    DecisionLog(run / "decisions.jsonl").append(Decision(wrong["id"], "keep", wrong["given_label"], reviewer="bob"))
    kept = pd.read_csv(report.export(output="kept.csv"))
    assert int(wrong["id"]) in kept["id"].tolist()


def test_reviews_say_what_the_command_says(run, capsys):
    report = nlclean.Report.read(run)
    assert report.reviews is None  # nothing is decided
    log = DecisionLog(run / "decisions.jsonl")
    for each in report.flagged().slice(0, 6).to_pylist():
        log.append(Decision(each["id"], "drop", each["given_label"], reviewer="bob"))
    found, said = report.reviews, " ".join(call(capsys, "report", run).out.split())
    assert found.decided == 6 == found.flagged.wrong and len(found.in_words()) == 3
    assert all(sentence in said for sentence in found.in_words())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "folder"}, "did you mean 'folders'"),
        ({"policy": "purge"}, "did you mean 'prune'"),
        ({"link": "soft"}, "must be one of hard, sym, copy"),
        ({"format": "cleanlab", "policy": "prune"}, "policy= does nothing"),
        ({"format": "patch", "policy": "weight"}, "no place for weights"),
        ({"output": "there.csv"}, "force=True to overwrite"),
        ({"output": "x.txt"}, r"must end in .csv\n.*output='FILE.csv'$"),
        ({"format": "folders", "output": "."}, "the folder that you are in"),
        ({"max_drop": 0.01, "output": "x.csv"}, r"; max_drop=0\.\d+ lets them go"),
        ({"max_drop": 60}, "max_drop is 60, must be a share of 0 to 1"),
        ({"max_drop": "60%"}, "max_drop is '60%', must be a number, e.g. 0.05"),
        ({"min_confidence": 2}, "min_confidence is 2, must be a share"),
        ({"max_drop_per_class": -1}, "max_drop_per_class is -1, must be a share"),
        ({"decisions": "nowhere.jsonl"}, "nowhere.jsonl is no file"),
        ({"decisions": ["nowhere.jsonl"]}, "nowhere.jsonl is no file"),
        ({"include_splits": "test"}, "no row has the split 'test'"),
    ],
)
def test_what_is_not_exported(run, here, options, said):
    (here / "there.csv").write_text("precious")
    with pytest.raises(ConfigError, match=said):
        nlclean.Report.read(run).export(**options)
    assert (here / "there.csv").read_text() == "precious"


def test_vectors_are_no_files():
    report = nlclean.audit(frame(), **OPTIONS)
    with pytest.raises(ConfigError, match="format='folders' needs image or sound files"):
        report.export("folders", output="x")


def test_the_page_is_that_of_the_command(run, capsys):
    report = nlclean.Report.read(run)
    assert report.page("python.html") == Path("python.html")
    assert call(capsys, "report", run, "--html", "command.html").code == 0
    assert Path("python.html").read_bytes() == Path("command.html").read_bytes()
    assert b"data:image/webp" in Path("python.html").read_bytes()
    with pytest.raises(ConfigError, match="force=True to overwrite"):
        report.page("python.html")
    report.page("python.html", force=True)
    with pytest.raises(ConfigError, match="is a folder"):
        report.page(".")


def test_a_check_is_that_of_the_command(run, capsys):
    report = nlclean.Report.read(run)
    gate = report.check(max_noise=0.01, max_suspects=len(TASK.wrong), baseline=run)
    shown = json.loads(
        call(
            capsys,
            *("check", run, "--max-noise", "1%", "--max-suspects", len(TASK.wrong), "--baseline", run),
            *("--format", "json", "--exit-zero"),
        ).out
    )
    assert gate.exceeded and shown["exceeded"]
    assert [outcome.exceeded for outcome in gate.outcomes] == [True, False, False]
    assert re.match(r"<Gate: \d+ suspects; noise rate: .* %, above the limit of 1 %; suspects: ", repr(gate))
    assert re.fullmatch(r"<Gate: \d+ suspects; no limits>", repr(report.check()))
    assert not report.check(max_suspects=0.5).exceeded and report.check(max_suspects=0.05).exceeded
    with pytest.raises(ConfigError, match="new since when"):
        report.check(max_new_suspects=3)
    with pytest.raises(ReportError, match="make one with `nlclean check --write-baseline FILE`"):
        report.check(baseline="nowhere.json")


@pytest.mark.parametrize(
    "limits",
    [{"max_noise": 5}, {"max_suspects": 5.0}, {"max_suspects": -1}, {"max_noise": np.nan}, {"max_noise": "5%"}],
)
def test_limits_that_everything_would_pass(run, limits):
    with pytest.raises(ConfigError, match=r"must be a share of 0 to 1|at least 0|a number, e\.g\. 0\.05"):
        nlclean.Report.read(run).check(**limits)


def test_a_folder_that_is_called_like_the_object_is_not_meant(here):
    (here / "DataFrame").mkdir()
    report = nlclean.audit(frame(), **OPTIONS)
    assert report.folder is not None and report.folder.parts[:2] == ("nlclean-runs", "DataFrame")
    target = report.export()
    assert target == here / "DataFrame.pruned.parquet"
    kept = pd.read_parquet(target)
    assert len(kept) == 150 - len(TASK.wrong) and list(kept.columns) == ["embedding", "label"]
    assert report.export(output="DataFrame/pruned.parquet").exists()


@pytest.mark.parametrize(
    ("command", "call"),
    [
        ("name another column, e.g. --id-column 'a b'", "name another column, e.g. id_column='a b'"),
        ("use --proxy mlp or resnet, or leave out --weights", "use proxy='mlp' or resnet, or leave out weights="),
        ("use --no-second-split, or no --warm-start", "use second_split=False, or no warm_start="),
        ("choose another --out, or --force to replace it", "choose another out=, or force=True to replace it"),
        ("export with --format manifest: it needs no files", "export with format='manifest': it needs no files"),
        ("`nlclean check --write-baseline FILE`; --out DIR", "`nlclean check --write-baseline FILE`; out='DIR'"),
        ("from --history and --pred-probs nothing comes", "from history= and pred_probs= nothing comes"),
        (
            "use --loss gce:q=0.5 --image-size 32, or --no-second-split",
            "use loss='gce:q=0.5' image_size=32, or second_split=False",
        ),
        ("the same command goes on", "the same call goes on"),
    ],
)
def test_messages_of_commands_are_spoken_in_python(command, call):
    with pytest.raises(ConfigError) as caught, _spoken_in_python():
        raise ConfigError("x", hint=command)
    assert caught.value.hint == call


def test_a_run_folder_is_named_as_text(run):
    assert len(nlclean.RunFolder("run").report) == 150


def test_a_report_without_its_folder_says_so(run):
    report = nlclean.Report.read(run)
    alone = nlclean.Report(report.table, report.summary)
    for method in (alone.export, alone.check, lambda: alone.page("x.html"), lambda: alone.reviews):
        with pytest.raises(ReportError, match="no run folder"):
            method()
    assert "<table " in alone._repr_html_()


def test_a_report_is_shown_in_a_line(run):
    shown = repr(nlclean.Report.read(run))
    assert shown.startswith("<Report: 150 rows, 12 flagged, noise rate ") and str(run) in shown
    assert len(shown.splitlines()) == 1 and "warning" not in shown
    warned = nlclean.Report(make_report([mislabel("a")]).table, make_report([], warnings=["beware"]).summary)
    assert "1 warning in summary.warnings>" in repr(warned)


def test_a_notebook_shows_the_worst_rows_with_their_pictures(run):
    shown = nlclean.Report.read(run)._repr_html_()
    assert "12 flagged" in shown and shown.count("<tr>") == 13
    assert shown.count('<img src="data:image/webp;base64,') == 12
    assert "<script" not in shown


def test_at_most_twenty_rows_are_shown():
    report = make_report([mislabel(f"a{number}") for number in range(30)])
    shown = html_view(report)
    assert shown.count("<tr>") == 21 and "and 10 more" in shown


def test_a_notebook_says_what_to_try_where_nothing_was_learned():
    rate = {"estimate": None, "low": 0.0, "high": 1.0, "method": "unknown: nothing was learned"}
    rows = [row("a", p_mislabel=None, label_score=None)]
    shown = html_view(make_report(rows, noise_rate=rate, flagged=0, issues={"none": 1}))
    assert "<table " not in shown and "What to try" in shown and "--proxy lite0" in shown


def test_a_notebook_runs_nothing_that_strangers_wrote():
    evil = "<script>alert(1)</script>"
    rows = [mislabel(evil, given_label=evil, suggested_label=HOSTILE), row("fine")]
    shown = html_view(make_report(rows, warnings=[evil]))
    assert "<script" not in shown and shown.count("&lt;script&gt;") == 3


def test_a_notebook_draws_classes_and_confusions():
    shown = html_view(make_report([mislabel("a"), row("fine")]))
    assert "50.0 % of 3" in shown and "dog → cat" in shown and "2 rows" in shown
    assert shown.count("<svg") == 2


def test_a_notebook_shows_the_page_in_a_frame_that_can_reach_nothing(run):
    page = nlclean.Report.read(run).page()
    assert "MB" in repr(page)
    shown = page._repr_html_()
    [frame] = re.findall(r"<iframe ([^>]*)>", shown)
    assert 'sandbox="allow-scripts allow-downloads"' in frame  # not allow-same-origin
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]).encode() == page.content
    assert shown.count("<") == 2  # the frame and its end: nothing of the page is outside of the attribute


def test_a_report_of_files_shows_them(here):
    names = [f"{row:03}.png" for row in range(150)]
    save_pictures(here, TASK.truth, names)
    manifest = write_csv(here / "m.csv", {"path": names, "label": LABELS})
    assert "data:image/webp" in nlclean.audit(str(manifest), **ENCODED)._repr_html_()
