"""atheris (`pip install atheris`) finds inputs for the targets of test_fuzz.py: it sees which lines of ours and
of Pillow an input reaches, and keeps those that reach new ones.

    python tests/fuzz_steered.py                                   # names the targets
    python tests/fuzz_steered.py TARGET -max_total_time=600        # options are those of libFuzzer

What brings a reader down is left in the working folder as `crash-...`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cleanlab_lite", "PIL"]):
    from fuzz_world import LARGEST, targets


def main(name: str, options: list[str]) -> None:
    target = targets()[name]
    with tempfile.TemporaryDirectory() as folder:
        seeds = Path(folder, "corpus")
        seeds.mkdir()
        for number, data in enumerate(target.corpus):
            (seeds / str(number)).write_bytes(data)
        setup = [sys.argv[0], str(seeds), f"-max_len={LARGEST}", f"-artifact_prefix={Path.cwd()}/", *options]
        atheris.Setup(setup, lambda data: target.feed(data, Path(folder)))
        atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:]:
        main(sys.argv[1], sys.argv[2:])
    else:
        print(*targets(), sep="\n")
