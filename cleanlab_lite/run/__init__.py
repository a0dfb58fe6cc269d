"""The run folder: `Run` fills it, with workers that have its `RunFiles`; `find_run` finds it, `RunFolder` reads it."""

from cleanlab_lite.run.find import find_run, finished_run, is_run, is_run_file, safe_stem
from cleanlab_lite.run.folder import RunFolder
from cleanlab_lite.run.writer import Run, RunFiles

__all__ = ["Run", "RunFiles", "RunFolder", "find_run", "finished_run", "is_run", "is_run_file", "safe_stem"]
