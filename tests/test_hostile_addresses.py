"""Addresses in a manifest: what they may open, how much of it, how long, and what is shown of them."""

from __future__ import annotations

import http.server
import io
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from audit_world import picture
from PIL import Image

import nlclean
from cleanlab_lite import addresses, remote
from cleanlab_lite.archives import member
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data import media
from cleanlab_lite.errors import ConfigError, DecodeError, ManifestError
from cleanlab_lite.evidence.trusted import read_trusted
from cleanlab_lite.files import MAX_FILE_BYTES, open_regular
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.report.page.html import build_page
from cleanlab_lite.report.page.notebook import html_view
from cleanlab_lite.run import RunFolder
from cleanlab_lite.train.plan import make_plan
from nlclean.review.previews import drawing_of
from nlclean.review.web import SharedReview

pytestmark = pytest.mark.survival


class Server(http.server.BaseHTTPRequestHandler):
    """Answers by path; `/slow` sends a byte at a time, `/endless` never ends."""

    protocol_version = "HTTP/1.1"
    asked: list[str]
    logins: list[str | None]
    elsewhere = ""
    data = bytes(range(256)) * 300

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        type(self).logins.append(self.headers["Authorization"])
        where = {
            "/moved": "/file",
            "/to-file": "file:///etc/passwd",
            "/to-ftp": "ftp://host/x",
            "/to-inside": f"{self.elsewhere}/file",
            "/in-circles": "/in-circles",
        }.get(self.path)
        if where is not None:
            self.send_response(302)
            self.send_header("Location", where)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path in ("/endless", "/slow", "/slow-header"):
            self._for_ever()
        elif self.path == "/gone":
            self.send_error(404)
        else:
            self._file()

    def _file(self) -> None:
        wanted, data = self.headers["Range"], self.data
        if wanted and self.path != "/whole":
            first, last = map(int, wanted.removeprefix("bytes=").split("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}")
            data = data[first : last + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) + 100 * (self.path == "/torn")))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    def _for_ever(self) -> None:
        part = b"x" * (1 << 16) if self.path == "/endless" else b"x"
        if self.path == "/slow-header":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-")
        else:
            self.send_response(200)
            self.end_headers()
        try:
            for _ in range(100_000):
                self.wfile.write(part)
                self.wfile.flush()
                if len(part) == 1:
                    time.sleep(0.05)
        except OSError:
            pass
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Server, "asked", [], raising=False)
    monkeypatch.setattr(Server, "logins", [], raising=False)
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


def fetched(address: str) -> bytes:
    return media.read_bytes(address, remote=True)


def refused(address: str, *words: str, code: str = "not_readable") -> str:
    with pytest.raises(DecodeError) as caught:
        fetched(address)
    assert caught.value.code == code
    for word in words:
        assert word in caught.value.message
    return caught.value.message


# --- Local files, by whatever name -----------------------------------------------------------------------------------

FOREVER = ["/dev/zero", "file:///dev/zero", "local:///dev/zero", "zip://a.png::/dev/zero", "tar://a::file:///dev/zero"]
FOREVER += ["zip://a::zip://b::/dev/zero"]


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices here")
@pytest.mark.parametrize("address", FOREVER)
def test_a_device_is_no_file_whatever_it_is_called(address):
    with pytest.raises(DecodeError, match="device"):
        media.read_bytes(address)
    with pytest.raises(DecodeError, match="device"), media.opened(address):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("form", ["{}", "file://{}", "zip://a.png::{}", "tar://a.png::file://{}"])
def test_a_pipe_is_no_file_whatever_it_is_called(tmp_path, form):
    os.mkfifo(tmp_path / "pipe")
    for remotely in (False, True):
        with pytest.raises(DecodeError, match="pipe"), media.opened(form.format(tmp_path / "pipe"), remote=remotely):
            pass


@pytest.mark.parametrize(
    "address",
    [
        "simplecache::file:///dev/zero",
        "filecache::http://host/a",
        "blockcache::zip://a::/b.zip",
        "FILE:///dev/zero",
        "reference://a::file:///b",
        "dask://host/a",
        "github://owner:repo@/a",
        "sftp://host/etc/passwd",
        "git://x",
        "jupyter://host/a",
        "libarchive://a::/b",
        "data:///,x",
        "zip://a::simplecache::http://host/b.zip",
        "zip://a::" * 5 + "/b.zip",
    ],
)
def test_only_known_protocols_are_opened(address, monkeypatch):
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda *a, **k: pytest.fail("opened"))
    with pytest.raises(PermissionError):
        remote.read_remote(address)
    with pytest.raises(DecodeError):
        media.read_bytes(address, remote=True)


def test_a_regular_file_is_read_and_a_large_one_is_not(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    with open_regular(tmp_path / "a") as file:
        assert file.read() == b"abc"
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(OverflowError), open_regular(tmp_path / "huge"):
        pass


# --- Rows that name files elsewhere ----------------------------------------------------------------------------------


def pictures(folder: Path, count: int = 8) -> None:
    for row in range(count):
        Image.new("RGB", (8, 8), (row * 9, 0, 0)).save(folder / f"{row}.png")


def raw(path: Path) -> bytes:
    """A file as bytes, a Parquet file as the text of its cells and its metadata."""
    if path.suffix != ".parquet":
        return path.read_bytes()
    held = pq.read_table(path)
    return repr((held.to_pydict(), held.schema.metadata)).encode("utf-8", "backslashreplace")


def table(folder: Path, paths: list[str]) -> Path:
    (folder / "m.csv").write_text("path,label\n" + "".join(f"{p},{'ab'[i % 2]}\n" for i, p in enumerate(paths)))
    return folder / "m.csv"


def test_remote_rows_of_a_local_manifest_are_fetched_only_where_that_was_allowed(tmp_path):
    pictures(tmp_path)
    paths = [f"{row}.png" for row in range(6)] + ["memory://host/6.png", "https://u.example/7.png?sig=SECRET"]
    manifest = read_manifest(table(tmp_path, paths))
    with pytest.raises(ConfigError) as caught:
        make_plan(manifest, AuditConfig(ensemble=2))
    assert "2 of 8 rows" in caught.value.message and "line 8" in caught.value.message
    assert "memory://host/6.png" in caught.value.message and "--allow-remote" in caught.value.hint
    with fsspec.open("memory://host/6.png", "wb") as file:
        file.write((tmp_path / "6.png").read_bytes())
    manifest = read_manifest(table(tmp_path, paths[:7]))
    assert make_plan(manifest, AuditConfig(ensemble=2, allow_remote=True)).rows == 7


def test_a_remote_manifest_may_name_remote_files(tmp_path):
    pictures(tmp_path)
    for row in range(8):
        with fsspec.open(f"memory://set/{row}.png", "wb") as file:
            file.write((tmp_path / f"{row}.png").read_bytes())
    with fsspec.open("memory://set/m.csv", "wb") as file:
        file.write(table(tmp_path, [f"{row}.png" for row in range(8)]).read_bytes())
    assert make_plan(read_manifest("memory://set/m.csv"), AuditConfig(ensemble=2)).rows == 8


def test_where_no_file_elsewhere_can_be_fetched_not_all_are_tried(tmp_path, monkeypatch):
    pictures(tmp_path)
    asked = []

    def refused(address):
        asked.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(media, "open_remote", refused)
    gone = [f"s3://bucket/{row}.png" for row in range(7)]
    with pytest.raises(ConfigError, match=r"none of 5 files .* 's3://bucket/0.png': .*Connection refused") as caught:
        make_plan(read_manifest(table(tmp_path, gone)), AuditConfig(ensemble=2, allow_remote=True))
    assert "AWS_ENDPOINT_URL" in caught.value.hint and len(asked) == 5
    few = read_manifest(table(tmp_path, [*gone[:5], "6.png", "7.png"]))  # are rows that cannot be read
    assert make_plan(few, AuditConfig(ensemble=2, allow_remote=True)).rows == 7


def test_files_in_archives_on_this_machine_are_not_remote(tmp_path):
    assert not addresses.is_elsewhere(f"zip://a.png::{tmp_path}/a.zip") and not addresses.is_elsewhere("/a/b:/c.png")
    assert not addresses.is_elsewhere("file:///a") and not addresses.is_elsewhere("zip://a.png::b.zip")
    assert addresses.is_elsewhere("zip://a.png::https://h/a.zip") and addresses.is_elsewhere("s3://a/b")
    assert member("zip://a::https://h/b.zip") is None


def test_a_file_of_settings_does_not_allow_it(tmp_path):
    from nlclean.settings import resolve

    (tmp_path / "nlclean.toml").write_text("allow_remote = true\n")
    with pytest.raises(ConfigError, match="command line"):
        resolve({}, environ={}, cwd=tmp_path)
    (tmp_path / "nlclean.toml").unlink()
    for flags, environ in (({"allow_remote": True}, {}), ({}, {"NLCLEAN_ALLOW_REMOTE": "1"})):
        assert resolve(flags, environ=environ, cwd=tmp_path)["allow_remote"].value is True


def test_who_looks_at_a_run_fetches_nothing(server):
    for address in (f"{server}/file", "memory://host/a", f"zip://a::{server}/file"):
        with pytest.raises(DecodeError, match="not fetched again"):
            media.read_bytes(address)
        with pytest.raises(DecodeError, match="not fetched again"), media.opened(address):
            pass
    assert Server.asked == []


# --- Passwords -------------------------------------------------------------------------------------------------------

WITH_PASSWORDS = [
    "https://user:hunter2@host/a.png",
    "http://hunter2@host/a.png",
    "s3://key:hunter2@bucket/a.png",
    "zip://a.png::https://u:hunter2@host/b.zip",
    "ftp://user:hunter2@host/a.png",
]


@pytest.mark.parametrize("address", WITH_PASSWORDS)
def test_an_address_with_a_password_is_refused_and_not_repeated(tmp_path, address):
    (tmp_path / "0.png").touch()
    path = table(tmp_path, ["0.png", address])
    for attempt in (
        lambda: read_manifest(path),
        lambda: read_manifest(address),
        lambda: read_manifest(path, features=address),
        lambda: read_manifest(path, path_root=address),
        lambda: read_manifest(path, path_prefix=address),
    ):
        with pytest.raises(ManifestError, match="password") as caught:
            attempt()
        assert "hunter2" not in str(caught.value)
    assert "hunter2" not in refused(address, "password")


@pytest.mark.parametrize("address", ["abfs://container@account/x", "hf://datasets/a/b@v1/c.png", "https://h/a@b:c.png"])
def test_an_at_sign_is_no_password(address):
    addresses.refuse_login(address)
    assert addresses.shown(address) == address


def test_what_is_shown_of_an_address():
    assert addresses.shown("open https://u:p@h/x now") == "open https://…@h/x now"
    assert addresses.shown("https://h/x?a=1&X-Amz-Signature=abc&b=2") == "https://h/x?a=1&X-Amz-Signature=…&b=2"
    assert addresses.shown("https://h/x?sig=abc#d") == "https://h/x?sig=…#d" and addresses.shown("a?sig=b") == "a?sig=b"


SIGNED = "memory://signed/{row}?X-Amz-Signature=SECRET{row}%2Fab/cd&as=/x.png"


@pytest.fixture(scope="module")
def signed_run(tmp_path_factory):
    """An audit of pictures whose addresses are signed."""
    folder = tmp_path_factory.mktemp("signed")
    names = [SIGNED.format(row=row) for row in range(24)]
    for row, name in enumerate(names):
        picture(row % 2, seed=row).save(folder / "one.png")
        with fsspec.open(name, "wb") as file:
            file.write((folder / "one.png").read_bytes())
    options = {"epochs": 1, "ensemble": 2, "device": "cpu", "allow_remote": True, "workers": 0}
    nlclean.audit(table(folder, names), out=folder / "run", progress=False, **options)
    return folder / "run"


def test_signatures_of_addresses_stay_where_files_are_read(signed_run):
    holding = [path.name for path in signed_run.rglob("*") if path.is_file() and b"SECRET" in raw(path)]
    assert sorted(holding) == ["corrected.csv", "manifest.parquet", "pruned.csv"]  # rows of the user, to be read again
    run = RunFolder(signed_run)
    assert run.report.table["id"][3].as_py() == "memory://signed/3?X-Amz-Signature=…&as=/x.png"
    assert run.report.table["path"].null_count == 0 and not run.report.table["error"].drop_null().to_pylist()
    assert b"SECRET" not in build_page(run) and "SECRET" not in html_view(run.report)
    assert str(run.manifest.uris[3]) == SIGNED.format(row=3)  # by which the files are read


def test_pictures_elsewhere_are_shown_from_the_cache_and_not_fetched(signed_run, tmp_path, monkeypatch):
    def asked(*arguments: object, **named: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr(media, "read_remote", asked)
    run = RunFolder(signed_run)
    assert run.decoded.keys() == set(range(24)) and {p.shape for p in run.decoded.values()} == {(3, 32, 32)}
    served = SharedReview(run, "ann").media("preview", 3)
    assert np.asarray(Image.open(io.BytesIO(served.content))).tolist() == run.decoded[3].transpose(1, 2, 0).tolist()
    assert build_page(run).count(b"data:image/webp") >= 24
    shutil.copytree(signed_run, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()  # somebody else's: what this user has seen is not theirs to show
    assert not RunFolder(tmp_path / "run").decoded
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path))
    assert not RunFolder(signed_run).decoded and b"data:image" not in build_page(RunFolder(signed_run))


def test_sounds_elsewhere_are_shown_from_the_cache_and_not_fetched(tmp_path, monkeypatch):
    names = [f"memory://sounds/{row}.wav" for row in range(24)]
    for row, name in enumerate(names):
        wave = np.sin(2 * np.pi * (400 + 1200 * (row % 2)) * np.arange(16_000 + 40 * row) / 8000)
        with fsspec.open(name, "wb") as file:
            soundfile.write(file, 0.5 * wave, 8000, format="WAV")
    options = {"epochs": 1, "ensemble": 2, "device": "cpu", "allow_remote": True, "workers": 0}
    nlclean.audit(table(tmp_path, names), out=tmp_path / "run", progress=False, **options)

    def asked(*arguments: object, **named: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr(media, "read_remote", asked)
    run = RunFolder(tmp_path / "run")
    assert run.decoded.keys() == set(range(24))
    page = build_page(run)
    assert page.count(b"data:image/webp") >= 24 and b"data:audio" not in page
    review = SharedReview(run, "ann")
    served = np.asarray(Image.open(io.BytesIO(review.media("preview", 3).content)))
    drawn = drawing_of(run.decoded[3]).paint(320, 200)
    assert served.shape == (200, 320, 3) and np.array_equal(served, drawn)
    low, high = (drawing_of(run.decoded[row]).paint(40, 64).sum(axis=(1, 2)).argmax() for row in (2, 3))
    assert low > high  # low tones are below
    assert b"sound/3" not in review.page
    with pytest.raises(DecodeError, match="no sound to play"):
        review.media("sound", 3)


def test_rows_with_signed_addresses_are_found_by_addresses_signed_anew(signed_run, tmp_path):
    manifest = RunFolder(signed_run).manifest
    (tmp_path / "right.csv").write_text("path,label\n" + SIGNED.format(row=3).replace("SECRET", "NEWER") + ",a\n")
    decided, notes = read_trusted(tmp_path / "right.csv", manifest)
    assert decided[3] == 0 and (decided >= 0).sum() == 1 and not notes


def test_addresses_that_only_their_signatures_tell_apart_stay(tmp_path):
    names = [f"https://h/get.png?key={row}" for row in range(8)]
    manifest = read_manifest(table(tmp_path, names))
    assert manifest.ids.tolist() == names
    assert any("signatures" in note for note in manifest.source.notes)


def test_logins_come_from_netrc_and_do_not_follow_redirects(server, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert fetched(f"{server}/moved") == Server.data
    assert [login is not None for login in Server.logins] == [True, False]


# --- Web servers -----------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_whole_or_in_parts(server):
    assert fetched(f"{server}/file") == fetched(f"{server}/moved") == Server.data
    for path in ("file", "whole"):
        with media.opened(f"{server}/{path}", remote=True) as file:
            assert file.read(10) == Server.data[:10]
            file.seek(-5, 2)
            assert file.read() == Server.data[-5:]
            file.seek(0)
            assert file.read() == Server.data


def test_what_a_server_does_wrong_is_said(server):
    refused(f"{server}/gone", "does not exist", code="file_missing")
    refused(f"{server}/torn", "broke off")
    refused(f"{server}/in-circles")
    refused("http://127.0.0.1:9/x", "cannot be read")


def test_a_body_without_end_is_cut(server, monkeypatch):
    monkeypatch.setattr(media, "MAX_REMOTE_BYTES", 1 << 20)
    refused(f"{server}/endless", "limit of 1048576", code="too_large")


@pytest.mark.parametrize("path", ["/slow", "/slow-header"])
def test_a_server_that_sends_a_byte_at_a_time_does_not_hold_the_run(server, monkeypatch, path):
    monkeypatch.setattr(remote, "GRACE", 0.3)
    refused(f"{server}{path}", "too slowly")


@pytest.mark.parametrize("path", ["/to-file", "/to-ftp"])
def test_no_redirect_leads_to_another_scheme(server, path):
    refused(f"{server}{path}", "edirect")


@pytest.mark.skipif(not os.path.exists("/proc/net"), reason="127.0.0.2 needs an alias elsewhere")
def test_no_redirect_leads_from_a_public_address_into_the_network(server, monkeypatch):
    other = http.server.ThreadingHTTPServer(("127.0.0.2", 0), Server)
    thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    monkeypatch.setattr(Server, "elsewhere", f"http://127.0.0.2:{other.server_port}")
    try:
        assert fetched(f"{server}/to-inside") == Server.data  # whoever names an address inside may be led on inside
        monkeypatch.setattr(remote, "is_inside", lambda address: address == "127.0.0.2")
        refused(f"{server}/to-inside", "redirect leads from a public address")
    finally:
        other.shutdown()
        thread.join()
        other.server_close()


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1"),
        *("fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "224.0.0.1"),
    ],
)
def test_addresses_inside(address):
    assert remote.is_inside(address)
    assert not remote.is_inside("93.184.216.34") and not remote.is_inside("2606:2800:220:1:248:1893:25c8:1946")


# --- Manifests and tables by such names ------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize(
    "ending", [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".arrow", ".feather", ".npz", ".zip"]
)
@pytest.mark.parametrize("target", ["pipe", "/dev/zero"])
def test_a_manifest_that_is_a_pipe_or_a_device(tmp_path, ending, target):
    if target == "pipe":
        os.mkfifo(tmp_path / f"m{ending}")
    else:
        os.symlink(target, tmp_path / f"m{ending}")
    for name in (f"{tmp_path}/m{ending}", f"file://{tmp_path}/m{ending}"):
        with pytest.raises(ManifestError, match="pipe, socket or device"):
            read_manifest(name)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices here")
@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_features_that_are_a_pipe_or_a_device(tmp_path, ending):
    (tmp_path / "m.csv").write_text("id,label\n1,a\n2,b\n")
    os.symlink("/dev/zero", tmp_path / f"zero{ending}")
    os.mkfifo(tmp_path / f"pipe{ending}")
    for name in (f"zero{ending}", f"pipe{ending}"):
        for prefix in ("", "file://"):
            with pytest.raises(ManifestError, match="pipe, socket or device"):
                read_manifest(tmp_path / "m.csv", features=f"{prefix}{tmp_path}/{name}")
