"""The run folder: `Run` fills it, `find_run` finds it, `RunFolder` reads it when it is finished."""

from cleanlab_lite.run.find import find_run, is_run_file, safe_stem
from cleanlab_lite.run.folder import RunFolder
from cleanlab_lite.run.writer import Run

__all__ = ["Run", "RunFolder", "find_run", "is_run_file", "safe_stem"]
