"""One thread per process: the networks of the tests are tiny, and threads that wait for each other cost far more."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for the processes that tests start

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

# All that the packages hold, 700,000 objects, is looked through again and again otherwise: a sixth of the time.
gc.set_threshold(100_000, 20, 100)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-seconds", type=float, default=60, help="how long test_fuzz.py mutates files, all in all")


@pytest.fixture(scope="session", autouse=True)
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A data folder of the tests: the secret by which runs are known must not be the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run that times no steps of training, for tests of the rest of what it says."""
    from cleanlab_lite.forecast import Forecast, Part
    from cleanlab_lite.sources import Proxies

    monkeypatch.setattr(Proxies, "forecast", lambda *_: Forecast((Part.sure("train", 1.0),)))
