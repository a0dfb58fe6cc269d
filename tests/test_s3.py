"""Files in S3, as a server on this machine plays it, and in Google Cloud Storage: audited, encoded by Ray, shown and
exported; and what is said where there is no bucket, no key, no server or no credentials."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from audit_world import CLASSES, fingerprints, save_pictures, task, write_csv
from cli_world import call

pytestmark = pytest.mark.slow
ROWS = 80
REGION = "us-east-1"
ACCESS, SECRET = "AKIDEXAMPLE", "SECRETEXAMPLE"
FAST = ("--preset", "fast", "--device", "cpu", "--image-size", "32")
FLAGS = ("--image-size", "32", "--device", "cpu", "--workers", "2")
NAMES = [f"{row:03}.png" for row in range(ROWS)]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def user(server: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whose keys and endpoint are where those who use S3 have them."""
    import s3fs

    facts = {
        "ACCESS_KEY_ID": ACCESS,
        "SECRET_ACCESS_KEY": SECRET,
        "ENDPOINT_URL": server,
        "DEFAULT_REGION": "us-east-1",
    }
    for name, value in {**facts, "EC2_METADATA_DISABLED": "true", "CONFIG_FILE": str(here / "none")}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(here / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(user: None, here: Path) -> Iterator[Path]:
    """Pictures on this machine, and the same in a bucket with a manifest beside them."""
    import s3fs

    given = task(ROWS)
    save_pictures(here, given.truth, NAMES)
    system = s3fs.S3FileSystem()
    system.mkdir("bucket")
    for name in NAMES:
        system.pipe_file(f"bucket/set/{name}", (here / name).read_bytes())
    labels = [CLASSES[label] for label in given.labels]
    write_csv(here / "local.csv", {"path": NAMES, "label": labels})
    write_csv(here / "manifest.csv", {"path": [f"s3://bucket/set/{name}" for name in NAMES], "label": labels})
    system.pipe_file("bucket/set/manifest.csv", (here / "local.csv").read_bytes())
    yield here
    system.rm("bucket", recursive=True)


def judged(run: str) -> dict[str, list[object]]:
    columns = ["is_label_issue", "p_mislabel", "suggested_label"]
    return pq.read_table(f"{run}/report.parquet", columns=columns).to_pydict()


def test_pictures_in_a_bucket_are_audited_as_those_of_this_machine(bucket: Path, capsys) -> None:
    refused = call(capsys, "audit", "manifest.csv", *FAST, "--out", "refused")
    assert refused.code == 2 and "--allow-remote fetches them" in refused.err
    said = []
    for out, manifest, allowed in (
        ("here", "local.csv", []),
        ("there", "manifest.csv", ["--allow-remote"]),
        ("all-there", "s3://bucket/set/manifest.csv", []),  # may name its own files
    ):
        done = call(capsys, "audit", manifest, *FAST, *allowed, "--out", out)
        assert done.code == 0, done.err
        assert judged(out) == judged("here")
        page = call(capsys, "report", out, "--html", f"{out}.html")
        assert page.code == 0 and "data:image" in Path(f"{out}.html").read_text("utf-8")
        cleaned = call(capsys, "export", out, "--policy", "correct-prune", "--output", f"{out}.csv")
        assert cleaned.code == 0, cleaned.err
        said += [done.out, done.err, page.err, cleaned.out]
    assert Path("there.csv").read_text().splitlines()[1].startswith("s3://bucket/set/")
    written = [path.read_bytes() for path in Path().rglob("*") if path.is_file()]
    assert not any(key in text for key in (ACCESS, SECRET) for text in said)
    assert not any(key.encode() in data for key in (ACCESS, SECRET) for data in written)


def test_they_are_encoded_here_or_by_actors_of_ray(bucket: Path, capsys) -> None:
    engines = ["local", "ray"] if importlib.util.find_spec("ray") else ["local"]
    for engine in engines:
        done = call(capsys, "encode", "manifest.csv", "--allow-remote", "--engine", engine, "--output", engine, *FLAGS)
        assert done.code == 0, done.err
        assert fingerprints(Path(engine)) == fingerprints(Path("local"))
    done = call(capsys, "audit", engines[-1], "--preset", "fast", "--device", "cpu", "--out", "run")
    assert done.code == 0, done.err
    done = call(capsys, "export", "run", "--policy", "correct-prune", "--output", "cleaned.parquet")
    assert done.code == 0 and pq.read_table("cleaned.parquet")["path"][0].as_py().startswith("s3://bucket/set/")


def test_a_key_that_is_missing_is_a_row(bucket: Path, capsys) -> None:
    text = Path("manifest.csv").read_text()
    Path("manifest.csv").write_text(text.replace("003.png", "gone.png"))
    done = call(capsys, "audit", "manifest.csv", *FAST, "--allow-remote", "--out", "run")
    assert done.code == 0, done.err
    row = pq.read_table("run/report.parquet").to_pylist()[3]
    assert row["reasons"] == ["file_missing"]


@pytest.mark.parametrize(
    ("manifest", "variables", "says"),
    [
        ("s3://bucket/set/gone.csv", {}, "there is no such file"),
        ("s3://nobody/set/manifest.csv", {}, "bucket does not exist"),
        ("s3://bucket/set/", {}, "folders are read on this machine only"),
        ("s3://bucket/set/manifest.csv", {"AWS_ACCESS_KEY_ID": ""}, "credentials"),
        ("manifest.csv", {"AWS_ACCESS_KEY_ID": ""}, "none of 5 files on other machines can be fetched"),
        ("manifest.csv", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "Could not connect to the endpoint"),
    ],
)
def test_what_is_wrong_is_said(manifest: str, variables: dict[str, str], says: str, bucket: Path, capsys) -> None:
    import s3fs

    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value) if value else patch.delenv(name)
        s3fs.S3FileSystem.clear_instance_cache()
        done = call(capsys, "audit", manifest, *FAST, "--allow-remote", "--out", "run")
        s3fs.S3FileSystem.clear_instance_cache()
    assert done.code == 2 and says in done.err
    assert "hint: " in done.err and SECRET not in done.err


def test_google_cloud_storage(here: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks by gRPC, for a minute where nobody answers
    gcsfs = pytest.importorskip("gcsfs")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    running = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    running.start()
    try:
        given = task(ROWS)
        save_pictures(here, given.truth, NAMES)
        for name in NAMES:
            gcsfs.GCSFileSystem(token="anon").pipe_file(f"bucket/{name}", (here / name).read_bytes())
        labels = [CLASSES[label] for label in given.labels]
        write_csv(here / "local.csv", {"path": NAMES, "label": labels})
        write_csv(here / "manifest.csv", {"path": [f"gs://bucket/{name}" for name in NAMES], "label": labels})
        for out, manifest in (("here", "local.csv"), ("there", "manifest.csv")):
            done = call(capsys, "audit", manifest, *FAST, "--allow-remote", "--out", out)
            assert done.code == 0, done.err
    finally:
        running.stop()
    assert judged("there") == judged("here")
