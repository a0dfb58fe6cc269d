"""Examples of README.md and docs/ run, a block at a time in a fresh folder, as a reader would; links lead somewhere."""

from __future__ import annotations

import functools
import os
import re
import runpy
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import click
import numpy as np
import pytest
from audit_world import CLASSES, OPTIONS, save_pictures, task, vector_parquet, vectors, write_csv
from cli_world import call
from review_world import write_wav

import cleanlab_lite as cl
from cleanlab_lite import door
from cleanlab_lite.config import FIELDS, Group
from cleanlab_lite.evidence.decisions import Decision, DecisionLog
from cleanlab_lite.judge.detectors import DETECTORS
from nlclean.main import COMMANDS, program
from nlclean.options import default_text, flag_names, limits

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in (ROOT / "README.md", *DOCS)}
PAGE_OF = {name: f"docs/{name}.md" for name in COMMANDS} | {"completion": "docs/doctor.md", "cache": "docs/runs.md"}
SMALL = {f"NLCLEAN_{name.upper()}": str(value) for name, value in (OPTIONS | {"image_size": 16, "epochs": 1}).items()}

ONLY_PARSED = {  # command lines that begin so: why they are not run
    r"nlclean audit sample_data/": "trains for a minute; the sample data have tests of their own",
    r"nlclean compare run seed5": "of two audits of the sample data; it has tests of its own",
    r"nlclean demo": "audits sample data; it has tests of its own",
    r"nlclean runs --prune": "asks; it has tests of its own",
    r"nlclean compare RUN --seeds": "audits three times; it has tests of its own",
    r"nlclean selftest sample_data/": "audits five times; the self-test has tests of its own",
    r"nlclean verify ": "learns ten times; it has tests of its own",
    r"nlclean review(?!.*--merge)": "needs a terminal",
    r"nlclean audit .*--proxy (torchvision|timm):": "needs pretrained weights; encoders have tests of their own",
    r"nlclean encode .*--engine ray": "needs Ray; it has a test of its own",
    r"nlclean audit .*--trusted RUN": "needs a reviewed run; it has tests of its own",
    r"nlclean audit .*--strategy auto": "trains 32 networks; the search has tests of its own",
}
TORCHRUN = {  # its own options, and those of `ray start`
    *("--nproc-per-node", "--nnodes", "--node-rank", "--master-addr", "--master-port"),
    *("--rdzv-backend", "--rdzv-endpoint", "--max-restarts", "--head", "--address"),
}
PIP = {"--find-links", "--index-url", "--no-index"}
ROWS = 120  # with fewer an audit is not sure enough to change a label by itself, and a patch would be empty
FAILS = r"nlclean check .*--max-noise"  # 10 % of the labels are wrong
NAMES = {"RUN": "run", "NEW_RUN": "run"}  # placeholders


# --- what the pages say ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A code block, fenced or indented, and the heading above it."""

    page: str
    title: str
    text: str

    @property
    def examples(self) -> list[str]:
        """Its commands in order, or all of it where it is Python."""
        return [self.text] if is_python(self.text) else command_lines(self.text)


def blocks(page: str) -> list[Block]:
    """A line that is indented below other text, such as an item of a list, is no code."""
    found: list[Block] = []
    lines: list[str] = []
    title, fenced, previous = "", False, ""
    for text in [*PAGES[page].splitlines(), "end"]:
        code = not text.startswith("```") if fenced else text.startswith("    ") and (lines or not previous)
        if code or (lines and not text):
            lines.append(text if fenced else text[4:])
        else:
            if lines:
                found.append(Block(page, title, "\n".join(lines).strip()))
                lines = []
            if text.startswith("#"):
                title = text.lstrip("# ")
            fenced = text.startswith("```") and not fenced
        previous = text
    return found


def is_python(block: str) -> bool:
    return re.match(r"(from \S+ )?import ", block) is not None


def command_lines(block: str) -> list[str]:
    """`nlclean ...` of a shell block, also behind `... &&` and as the step of a workflow; comments are cut off."""
    found = []
    for text in block.replace("\\\n", " ").splitlines():
        text = re.sub(r"^\s*- run: ", "", text).removeprefix("$ ").removeprefix("python -m ")
        for part in re.split(r"\s&&\s|\s\|\s|\s>\s", re.sub(r"\s#.*", "", text)):
            if part.startswith("nlclean "):
                found.append(part.strip())
    return found


def words(example: str) -> list[str]:
    return [NAMES.get(word, word) for word in shlex.split(example)[1:]]


ALL = [block for page in PAGES for block in blocks(page) if block.examples]
COMMAND_LINES = [(block.page, text) for block in ALL for text in block.examples if not is_python(text)]


# --- the folder of the reader ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """All that the examples name, and a finished run of manifest.csv; a report knows the path of its manifest,
    so that every block finds its copy in the same place."""
    base = tmp_path_factory.mktemp("docs")
    here = base / "here"
    here.mkdir()
    small = task(ROWS, wrong=ROWS // 10)
    names = [f"{CLASSES[label]}/{row:02}.png" for row, label in enumerate(small.labels)]
    labels = [CLASSES[label] for label in small.labels]
    splits = ["test" if row % 5 == 0 else "train" for row in range(ROWS)]
    vector_parquet(here / "vectors.parquet", small)
    np.save(here / "embeddings.npy", vectors(small.truth))
    for folder in (here / "photos", here / "data" / "photos", here / "data" / "train"):
        save_pictures(folder, small.truth, names)
    for folder in (here, here / "data"):
        paths = [f"photos/{name}" for name in names]
        write_csv(folder / "manifest.csv", {"path": paths, "label": labels, "split": splits})
    write_csv(here / "data" / "train" / "metadata.csv", {"file_name": names, "label": labels})
    rows = [f'{{"file_name": "photos/{name}", "label": "{label}"}}' for name, label in zip(names, labels, strict=True)]
    (here / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    voted = [
        (name, who, small.truth if who == "ann" else small.labels) for name in names for who in ("ann", "bob", "eve")
    ]
    said = [CLASSES[given[row // 3]] for row, (_, _, given) in enumerate(voted)]
    columns = {"path": [f"photos/{name}" for name, _, _ in voted], "annotator": [who for _, who, _ in voted]}
    write_csv(here / "votes.csv", columns | {"label": said})
    for row, label in enumerate(small.truth):
        folder = here / "clips" / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        write_wav(folder / f"{row:02}.wav", 400 * 2 ** int(label) + row)
    recorder = cl.Recorder(ROWS, len(CLASSES))
    for _ in range(2):
        recorder.update(np.arange(ROWS), 4 * np.eye(len(CLASSES))[small.truth], small.labels)
        recorder.end_epoch()
    recorder.save(here / "recorded")
    sure = np.where(np.eye(len(CLASSES))[small.truth] > 0, 0.9, 0.1 / (len(CLASSES) - 1))
    write_csv(here / "p.csv", dict(zip(CLASSES, sure.T.tolist(), strict=True)))
    write_csv(here / "texts.csv", {"text": [f"text {row}" for row in range(ROWS)], "label": labels})
    decision = Decision(names[0], "keep", labels[0], reviewer="bob")
    DecisionLog(here / "bob.jsonl").append(decision)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv("NLCLEAN_CACHE_DIR", str(base / "cache"))
        for name, value in SMALL.items():
            patch.setenv(name, value)
        for arguments in (["audit", "manifest.csv"], ["check", "--write-baseline", "labels.baseline.json"]):
            with pytest.raises(SystemExit) as stop:
                program.main([*arguments, "--quiet"])
            assert not stop.value.code
    [report] = here.glob("nlclean-runs/*/*/report.parquet")
    shutil.copytree(report.parent, here / "run")
    os.utime(report)  # it is the newest, not its copy
    shutil.copytree(here, base / "kept")
    return base


def copy(source: str, target: str) -> None:
    """Pictures are never written, and there are many."""
    (os.link if source.endswith(".png") else shutil.copy2)(source, target)


@pytest.fixture
def folder(kept, monkeypatch):
    here = kept / "here"
    shutil.rmtree(here, ignore_errors=True)
    shutil.copytree(kept / "kept", here, copy_function=copy)
    monkeypatch.chdir(here)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(kept / "cache"))
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(door, "audit", functools.partial(door.audit, **OPTIONS))  # reads no variables
    with cl.PROXIES.temporarily():  # what an example registers is gone after it
        yield here


def parse(example: str) -> None:
    """Raise click.UsageError where a command or an option does not exist, or a value does not fit."""
    name, *arguments = words(example)
    command = program.get_command(click.Context(program), name)
    assert command is not None, example
    command.make_context(name, arguments)


# --- tests ----------------------------------------------------------------------------------------------------------


def trains(block: Block) -> bool:
    return any(
        re.search(r"^nlclean (audit|selftest|verify) |\baudit\(|\.fit\(", line, re.MULTILINE) for line in block.examples
    )


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(
            block,
            id=f"{block.page}: {block.title}",
            marks=pytest.mark.slow if trains(block) and block.page != "README.md" else (),
        )
        for block in ALL
    ],
)
def test_the_examples_run(block, folder, capsys):
    for example in block.examples:
        if is_python(example):
            exec(compile(example, block.page, "exec"), {})
        elif any(re.match(start, example) for start in ONLY_PARSED):
            parse(example)
        else:
            if "--out run" in example:
                shutil.rmtree("run")
            result = call(capsys, *words(example))
            fails = re.match(FAILS, example) and "--exit-zero" not in example
            assert result.code == (1 if fails else 0), f"{example}\n{result.err}"


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted((ROOT / "docs" / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_the_example_scripts_find_what_they_planted(script, folder, capsys):
    after = runpy.run_path(str(script))
    assert after["found"] > 0.8
    assert "planted errors" in capsys.readouterr().out


def test_no_reason_is_stale():
    assert [
        pattern for pattern in (*ONLY_PARSED, FAILS) if not any(re.match(pattern, line) for _, line in COMMAND_LINES)
    ] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_tells_every_option_of_a_command(command):
    page = PAGES[PAGE_OF[command]]
    found = program.get_command(click.Context(program), command)
    assert found is not None
    options = {name for each in found.params for name in (*each.opts, *each.secondary_opts) if name.startswith("--")}
    common = {"--quiet", "--verbose", "--help", "--json"}
    assert {name for name in options - common if not re.search(rf"{name}(?![\w-])", page)} == set()
    assert any(page == PAGE_OF[command] and line.startswith(f"nlclean {command}") for page, line in COMMAND_LINES)


def option_table(group: str) -> str:
    """As docs/audit.md has it: what the fields of AuditConfig say of themselves."""
    rows = [
        f"| {', '.join(f'`{flag}`' for flag in flag_names(name))} | "
        f"{option.help}{''.join(f' ({limit})' for limit in limits(option))} | {default_text(option)} |"
        for name, option in FIELDS.items()
        if option.group == group
    ]
    return "\n".join([f"| {group} | | default |", "|---|---|---|", *rows]) + "\n"


@pytest.mark.parametrize("group", get_args(Group))
def test_the_tables_of_options_are_those_of_the_library(group):
    assert option_table(group) in PAGES["docs/audit.md"]


def test_the_page_of_the_methods_says_which_detectors_an_audit_runs():
    text = " ".join(PAGES["docs/methods.md"].split())
    runs, others = ([f"`{spec.name}`" for spec in DETECTORS if spec.facts.runs is runs] for runs in (True, False))
    assert f"where their evidence is there: {', '.join(runs)}. The others ({', '.join(others)})" in text


def test_every_option_exists():
    context = click.Context(program)
    commands = [program, *(program.get_command(context, name) for name in COMMANDS)]
    params = [param for command in commands if command is not None for param in command.params]
    known = {"--help"} | TORCHRUN | PIP | {name for param in params for name in (*param.opts, *param.secondary_opts)}
    for page, text in PAGES.items():
        text = re.sub(r"\(#[^)]*\)|\([^)\s]*\.md#[^)]*\)", "", text)  # anchors
        assert {name for name in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text) if name not in known} == set(), page


def test_the_index_lists_every_page():
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", PAGES["docs/README.md"]))
    assert listed == {path.name for path in DOCS} - {"README.md"}


def anchors(text: str) -> set[str]:
    """Of headings, as GitHub makes them: lower case, words joined by hyphens, all else left out."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = "\n".join(line for line in PAGES[page].splitlines() if not line.startswith("    "))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text("utf-8")), target
