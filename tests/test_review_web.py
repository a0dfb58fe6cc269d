"""`nlclean review --web`: who is let in, what is on disk when an answer comes, and what can be looked at."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_world import call
from html_world import FINE, HOSTILE, WRONG, island, page_run
from PIL import Image
from review_world import make_run
from scipy.io import wavfile

from cleanlab_lite.evidence.decisions import Decision, DecisionLog, Follower, settle, standing
from cleanlab_lite.run import RunFolder
from nlclean.review.server import MAX_BODY, ReviewServer
from nlclean.review.web import LONGEST, SharedReview


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def journal(self) -> list[dict[str, Any]]:
        return json.loads(self.content)["decisions"]


class Client:
    """A browser with one connection, as far as a server can tell."""

    def __init__(self, server: ReviewServer) -> None:
        self.server, self.host = server, f"127.0.0.1:{server.server_port}"
        self.connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, named)
        response = self.connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())

    def get(self, path: str = "", **headers: str) -> Answer:
        return self.ask(f"/{self.server.token}/{path}", **headers)

    def post(self, body: bytes, path: str = "decisions?after=0", **headers: str) -> Answer:
        own = {"Origin": f"http://{self.host}", "Content_Type": "application/json"} | headers
        return self.ask(f"/{self.server.token}/{path}", "POST", body, **own)

    def decide(self, *decisions: dict[str, Any], after: int = 0) -> Answer:
        return self.post(json.dumps(decisions).encode(), f"decisions?after={after}")


def serving(run: Path) -> Iterator[ReviewServer]:
    with ReviewServer(SharedReview(RunFolder(run), "ann")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return page_run(tmp_path_factory.mktemp("web"), side=400)


@pytest.fixture(scope="module")
def server(pictures):
    yield from serving(pictures)


@pytest.fixture
def client(server, pictures):
    (pictures / "decisions.jsonl").unlink(missing_ok=True)
    return Client(server)


# who is let in


def test_the_page_is_the_offline_page_that_may_also_ask_this_server(client):
    answer = client.get()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.content.split(b'Content-Security-Policy" content="')[1].split(b'">')[0].decode()
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "img-src data: 'self'; media-src 'self'; connect-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(island(answer.content)["rows"]) == WRONG + FINE


@pytest.mark.parametrize("path", ["/", "/decisions?after=0", "/wrong/", "/wrong/preview/0", "", "/favicon.ico", "//"])
def test_nothing_is_said_without_the_token(client, path):
    answer = client.ask(path)
    assert answer.status in (400, 403)
    assert b"cat" not in answer.content and client.server.token.encode() not in answer.content


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "evil.example"},  # DNS that points at this machine
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1.evil.example:80"},
    ],
)
def test_pages_of_other_hosts_are_refused(client, pictures, headers):
    answer = client.get("decisions?after=0", **headers)
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("Access-Control")]
    assert client.post(b'[{"id": "wrong0.png", "action": "keep"}]', **headers).status == 403
    assert not (pictures / "decisions.jsonl").exists()


def test_its_own_names_are_let_in(client):
    port = client.server.server_port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        assert client.get("decisions?after=0", Host=host, Origin=f"http://{host}").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "../report.parquet", "decisions.jsonl", "preview/../../pets.csv", "preview/%2e%2e/0", "preview/-1",
        f"preview/{WRONG + FINE}", "preview/99999999999", "preview/0/", "preview/wrong0.png", "picture//etc/passwd",
        "sound/0", "decisions", "decisions?after=x", "decisions?after=0&x=1", "page.js",
    ],
)  # fmt: skip
def test_only_rows_of_the_run_can_be_looked_at(client, path):
    answer = client.get(path)
    assert answer.status in (403, 404)
    assert len(answer.content) < 200


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
def test_there_are_no_other_methods(client, method):
    assert client.ask(f"/{client.server.token}/", method).status == 501


def test_only_the_page_may_decide(client, pictures):
    body = b'[{"id": "wrong0.png", "action": "keep"}]'
    path = f"/{client.server.token}/decisions?after=0"
    own = f"http://{client.host}"
    assert client.ask(path, "POST", body, Content_Type="application/json").status == 403
    assert client.ask(path, "POST", body, Origin=own, Content_Type="text/plain").status == 403
    assert client.post(body, "preview/0").status == 404
    assert not (pictures / "decisions.jsonl").exists()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"Content-Length: {MAX_BODY + 1}\r\n", 413),
        ("Content-Length: 99999999999999999999\r\n", 411),
        ("Content-Length: -1\r\n", 411),
        ("Transfer-Encoding: chunked\r\n", 411),
        ("", 411),
    ],
)
def test_huge_bodies_are_not_read(server, head, status):
    port = server.server_port
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(
            f"POST /{server.token}/decisions?after=0 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Origin: http://127.0.0.1:{port}\r\nContent-Type: application/json\r\n{head}\r\n".encode()
        )
        assert connection.recv(100).startswith(f"HTTP/1.1 {status} ".encode())


# the journal


def test_a_decision_is_on_disk_when_the_answer_comes(client, pictures):
    fixed = {"id": HOSTILE, "action": "relabel", "label": "new \N{SNOWMAN}", "reviewer": " bob "}
    answer = client.decide({"id": "wrong0.png", "action": "keep"}, fixed)
    assert answer.status == 200
    found = DecisionLog(pictures / "decisions.jsonl").read()
    assert [(d.id, d.action, d.given_label, d.label, d.reviewer) for d in found] == [
        ("wrong0.png", "keep", "dog", None, "ann"),
        (HOSTILE, "relabel", HOSTILE, "new \N{SNOWMAN}", "bob"),
    ]
    assert all(d.time for d in found)
    assert [line["id"] for line in answer.journal] == ["wrong0.png", HOSTILE]


def test_reviewers_see_what_the_others_decided(server, client, pictures):
    bob, eve = client, Client(server)
    bob.decide({"id": "wrong0.png", "action": "drop", "reviewer": "bob"})
    assert [line["reviewer"] for line in eve.get("decisions?after=0").journal] == ["bob"]
    seen = eve.decide({"id": "wrong0.png", "action": "keep", "reviewer": "eve"}, after=1)
    assert [line["reviewer"] for line in seen.journal] == ["eve"]
    DecisionLog(pictures / "decisions.jsonl").append(Decision("wrong1.png", "keep", "dog", reviewer="terminal"))
    assert [line["reviewer"] for line in bob.get("decisions?after=1").journal] == ["eve", "terminal"]
    bob.decide({"id": "wrong0.png", "action": "undo", "reviewer": "bob"})
    assert {key for key in standing(RunFolder(pictures).decisions)} == {
        ("eve", "wrong0.png"),
        ("terminal", "wrong1.png"),
    }


def test_decisions_made_at_once_are_all_there(server, client, pictures):
    def decide(name: str) -> None:
        own = Client(server)
        for i in range(WRONG - 1):
            assert own.decide({"id": f"wrong{i}.png", "action": "keep", "reviewer": name}).status == 200

    threads = [threading.Thread(target=decide, args=(f"r{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(standing(RunFolder(pictures).decisions)) == 6 * (WRONG - 1)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"[1]", b"[" * 100_000, b'"x"', b"[{}]", b"\xff",
        b'[{"id": "nobody.png", "action": "keep"}]',
        b'[{"id": ["wrong0.png"], "action": "keep"}]',
        b'[{"id": "wrong0.png", "action": "burn"}]',
        b'[{"id": "wrong0.png", "action": ["keep"]}]',
        b'[{"id": "wrong0.png", "action": "relabel"}]',
        b'[{"id": "wrong0.png", "action": "relabel", "label": " "}]',
        b'[{"id": "wrong0.png", "action": "relabel", "label": "\\ud800"}]',
        b'[{"id": "wrong0.png", "action": "keep", "reviewer": "\\ud800"}]',
        b'[{"id": "wrong0.png", "action": "keep", "reviewer": 1}]',
        b'[{"id": "wrong0.png", "action": "keep", "given_label": "x"}]',
        b'[{"id": "wrong0.png", "action": "keep", "reviewer": "%s"}]' % (b"x" * (LONGEST + 1)),
        b'[{"id": "wrong0.png", "action": "keep"}, {"id": "nobody.png", "action": "keep"}]',
    ],
)  # fmt: skip
def test_what_is_no_decision_is_refused_and_nothing_written(client, pictures, body):
    answer = client.post(body)
    assert answer.status == 400
    assert answer.content.startswith(b"refused: ")
    assert not (pictures / "decisions.jsonl").exists()


def test_a_journal_is_followed_line_by_line(tmp_path):
    log = DecisionLog(tmp_path / "decisions.jsonl")
    follower = Follower(log)
    follower.refresh()
    assert follower.decisions == []
    log.append(Decision("a", "keep", "x"), Decision("b", "drop", "x"))
    follower.refresh()
    with log.path.open("ab") as file:
        file.write(b'{"id": "torn')  # by a kill
    follower.refresh()
    assert [decision.id for decision in follower.decisions] == ["a", "b"]
    log.append(Decision("c", "keep", "x"))
    follower.refresh()
    assert follower.decisions == log.read()
    log.path.write_bytes(log.path.read_bytes().splitlines(keepends=True)[1])
    follower.refresh()
    assert [decision.id for decision in follower.decisions] == ["b"]


# pictures and sounds


def opened(answer: Answer) -> Image.Image:
    assert answer.status == 200
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    return Image.open(io.BytesIO(answer.content))


def test_pictures_are_small_in_the_table_and_whole_on_demand(client):
    detail = island(client.get().content)["details"][0]
    assert detail[1] == "preview/0"
    preview = client.get("preview/0")
    assert max(opened(preview).size) == 320
    assert preview.headers["Content-Type"] == "image/jpeg"  # it has lost pixels already, and takes a sixth of the time
    whole = client.get("picture/0")
    assert opened(whole).size == (400, 400)
    assert whole.headers["Content-Type"] == "image/png"


def test_small_pictures_keep_their_pixels(tmp_path):
    run = page_run(tmp_path)
    Image.linear_gradient("L").resize((32, 24)).save(tmp_path / "0.png")
    found = SharedReview(RunFolder(run), "ann").media("preview", 0)
    assert found.mime == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(found.content))), np.asarray(Image.open(tmp_path / "0.png")))


def test_large_pictures_are_bounded(tmp_path):
    run = page_run(tmp_path)
    Image.new("RGB", (5000, 1000), "red").save(tmp_path / "0.png")
    review = SharedReview(RunFolder(run), "ann")
    found = review.media("picture", 0)
    assert found.mime == "image/jpeg"
    assert Image.open(io.BytesIO(found.content)).size == (4096, 819)


def test_a_file_that_is_no_picture_is_never_sent(tmp_path):
    run = page_run(tmp_path)
    (tmp_path / "0.png").write_text("<script>alert(1)</script>")
    for server in serving(run):
        answer = Client(server).get("picture/0")
        assert answer.status == 404
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        missing = WRONG + FINE - 1
        assert Client(server).get(f"preview/{missing}").status == 404
        assert f"preview/{missing}".encode() not in server.review.page  # it was unreadable in the audit


def test_sounds_are_heard_and_seen(tmp_path):
    for server in serving(make_run(tmp_path, "sound")):
        client = Client(server)
        detail = island(client.get().content)["details"][0]
        _, picture, sound, *_ = detail
        assert sound.startswith("sound/")
        answer = client.get(sound)
        assert answer.headers["Content-Type"] == "audio/wav"
        rate, samples = wavfile.read(io.BytesIO(answer.content))
        assert len(samples) > rate / 10
        assert np.abs(samples).max() > 1000
        assert opened(client.get(picture)).size == (320, 200)
        assert opened(client.get(picture.replace("preview", "picture"))).size == (1280, 640)


def test_vectors_have_rows_and_no_pictures(tmp_path):
    for server in serving(make_run(tmp_path, "vector")):
        data = island(Client(server).get().content)
        assert data["rows"] and not any(detail[1] or detail[2] for detail in data["details"])
        assert Client(server).get("preview/0").status == 404


# the command


def start(run: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "nlclean", "review", str(run), "--web", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def post(url: str, *decisions: dict[str, Any]) -> int:
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    headers = {"Origin": f"http://{host}", "Content-Type": "application/json"}
    connection.request("POST", f"/{path}decisions?after=0", json.dumps(decisions), headers)
    return connection.getresponse().status


def test_ctrl_c_closes_it_and_says_what_was_decided(tmp_path):
    run = page_run(tmp_path)
    process, url = start(run, "--reviewer", "ann")
    assert post(url, {"id": "wrong0.png", "action": "keep"}, {"id": "wrong1.png", "action": "drop"}) == 200
    assert post(url, {"id": "wrong1.png", "action": "drop", "reviewer": "bob"}) == 200
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "ann: 2 rows decided (keep 1, drop 1)\nbob: 1 row decided (drop 1)\n" in out
    assert "Agreement of ann, bob on 1 row" in out
    assert out.splitlines()[-1].startswith("Next: nlclean export ")
    assert url not in out + err  # printed once


def test_where_nothing_was_decided_nothing_is_advised(tmp_path):
    process, _ = start(page_run(tmp_path))
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == "nothing was decided"


def test_where_all_was_taken_back_nothing_is_advised(tmp_path):
    run = page_run(tmp_path)
    log = RunFolder(run).journal
    log.append(Decision("wrong0.png", "drop", None, reviewer="ann"))
    log.append(Decision("wrong0.png", "undo", None, reviewer="ann"))
    process, _ = start(run)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Next:" not in out


def test_a_kill_loses_nothing(tmp_path):
    run = page_run(tmp_path)
    process, url = start(run, "--reviewer", "ann")
    assert post(url, {"id": "wrong0.png", "action": "relabel", "label": "cat"}) == 200
    process.kill()
    process.communicate()
    assert {id: d.label for id, d in settle(RunFolder(run).decisions).items()} == {"wrong0.png": "cat"}


def test_what_does_not_go_together(tmp_path, capsys, server):
    run = page_run(tmp_path)
    assert call(capsys, "review", run, "--web", "--calibrate").code == 2
    assert "--port belongs to --web" in call(capsys, "review", run, "--port", 1).err
    taken = call(capsys, "review", run, "--web", "--port", server.server_port)
    assert taken.code == 2
    assert f"cannot listen on port {server.server_port}" in taken.err
