"""Where spans are read from: files of any kind, directories, pipes, and Jaeger's /api/v3."""

import gzip
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from runtime.traces.source import Source


def line(number, *, start_ns=1_800_000_000_000_000_000):
    found = {"traceId": f"{number:032x}", "spanId": f"{number:016x}", "name": f"span {number}"}
    times = {"startTimeUnixNano": str(start_ns), "endTimeUnixNano": str(start_ns + 5)}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [found | times]}]}]}).encode() + b"\n"


def names(source):
    return [span.name for span in source.spans()]


def test_files_of_every_kind_are_read_in_their_order(tmp_path):
    """Plain, gzipped, with a byte order mark, a directory; twice the same."""
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + line(1) + line(2))
    (tmp_path / "b.otlp").write_bytes(gzip.compress(line(3)) + gzip.compress(line(4)))  # by content, not by name
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "y.jsonl.gz").write_bytes(gzip.compress(line(6)))
    (folder / "x.json").write_bytes(line(5))
    (folder / "notes.txt").write_text("no traces")
    with Source([tmp_path / "a.jsonl", tmp_path / "b.otlp", folder]) as source:
        for _ in range(2):
            assert names(source) == [f"span {number}" for number in range(1, 7)]
            assert source.reader.spans == 6
            assert source.reader.bad_lines == []
        assert len(list(source.starts())) == 6


def test_a_truncated_gzip_file_is_an_error_that_names_it(tmp_path):
    """A copy that is not complete."""
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(line(1) * 100)[:-12])
    with Source([path]) as source, pytest.raises(OSError, match="cannot be unzipped further") as caught:
        names(source)
    assert caught.value.filename == str(path)


def test_a_pipe_can_be_read_twice(tmp_path):
    """`trace <(…)`: a page needs two passes."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(gzip.compress(line(1) + line(2))))
    writer.start()
    with Source([path]) as source:
        assert names(source) == names(source) == ["span 1", "span 2"]
    writer.join()


def test_progress_is_in_bytes_of_the_files_as_they_are(tmp_path):
    """Of a gzipped file the compressed ones: their number is known."""
    seen = []
    for name, content in (("a.jsonl", line(1)), ("b.jsonl.gz", gzip.compress(line(2)))):
        (tmp_path / name).write_bytes(content)
    with Source([tmp_path], progress=lambda done, total: seen.append((done, total))) as source:
        names(source)
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)


GENERATIONS = {
    "2.13": ("query.service_name", "query.start_time_min", "query.start_time_max", "query.num_traces"),
    "2.21": ("query.serviceName", "query.startTimeMin", "query.startTimeMax", "query.searchDepth"),
}


class Jaeger(ThreadingHTTPServer):
    """Jaeger's `/api/v3`: of 2.13, whose names are in snake_case, or of 2.21; each requires its own and ignores others."""

    def __init__(self, version, traces=2):
        super().__init__(("127.0.0.1", 0), Handler)
        self.names, self.traces, self.asked = GENERATIONS[version], traces, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def response(self, target):
        path, query = urlsplit(target)[2:4]
        self.asked.append(path)
        if path == "/api/v3/services":
            return 200, json.dumps({"services": ["core", "idle"]}).encode()
        if path == f"/api/v3/traces/{7:032x}":
            return 200, self.document(7)
        if path != "/api/v3/traces":
            return 404, b'{"error":{"httpCode":404,"message":"No traces found"}}'
        return self.search(query)

    def search(self, query):
        program, least, most, depth = (parse_qs(query).get(name, [""])[0] for name in self.names)
        if not (least.endswith("Z") and most.endswith("Z") and least < most):
            return 400, b'{"error":{"httpCode":400,"message":"times are required"}}'
        if not 0 < int(depth or 0) <= 20_000:
            return 500, b'{"error":{"httpCode":500,"message":"search depth must be greater than 0"}}'
        if program != "core":
            return 404, b"{}"
        return 200, b"".join(self.document(number) for number in range(1, self.traces + 1))

    @staticmethod
    def document(number):
        return b'{"result":' + line(number).strip() + b"}"  # one after the other, without a line's end


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = self.server.response(self.path)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(params=["2.13", "2.21"])
def jaeger(request):
    with Jaeger(request.param) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.sockets
def test_a_jaeger_of_either_generation_is_read(jaeger):
    """Each requires parameters that the other does not know."""
    with Source([jaeger.url]) as source:
        assert names(source) == ["span 1", "span 2"]
        assert source.notes == []
    with Source([f"{jaeger.url}/"], trace_id=f"{7:032X}".lower()) as source:
        assert names(source) == ["span 7"]
    with Source([jaeger.url], trace_id=f"{8:032x}") as source:
        assert names(source) == []


@pytest.mark.sockets
def test_a_jaeger_that_may_have_more_is_named(jaeger, monkeypatch):
    """Its search ends at a number of traces, without a word."""
    monkeypatch.setattr("runtime.traces.source.JAEGER_TRACES", 2)
    with Source([jaeger.url]) as source:
        names(source)
        (note,) = source.notes
    assert "has more traces of core than the 2 that were read" in note


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("path", "said"),
    [("/else", "does not respond as a Jaeger does"), ("", "status 400: times are required")],
    ids=["another program", "an error"],
)
def test_what_a_jaeger_responds_is_in_the_error(jaeger, path, said):
    """With the address, in one line."""
    url = jaeger.url + path
    with Source([url], since_ns=5, until_ns=4) as source, pytest.raises(OSError, match=said) as caught:
        names(source)
    assert caught.value.filename == url


@pytest.mark.sockets
def test_a_jaeger_that_is_not_there_is_an_error():
    """No traceback."""
    with Source(["http://127.0.0.1:9"]) as source, pytest.raises(OSError, match="does not respond: "):
        names(source)
