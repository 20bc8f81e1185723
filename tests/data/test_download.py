"""Downloads from a local server: broken off, resumed, wrong, malicious. No network."""

import copy
import gzip
import hashlib
import http.server
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from data import download
from data.download import Archive, ProgressLine, fetch, install, is_installed, main, unpack
from data.records import InputError

IMAGES = ["000001", "000002", "000003"]


def quiet(doing, done, total):
    assert 0 <= done <= total


def tar_of(files, *others):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in others:
            tar.addfile(member)
    return buffer.getvalue()


def voc_files(image_set="trainval", images=IMAGES):
    noise = np.random.default_rng(0).bytes(40_000)
    tree = "VOCdevkit/VOC2007"
    files = {f"{tree}/ImageSets/Main/{image_set}.txt": "\n".join(images).encode() + b"\n"}
    for image in images:
        files[f"{tree}/Annotations/{image}.xml"] = f"<annotation>{image}</annotation>".encode()
        files[f"{tree}/JPEGImages/{image}.jpg"] = image.encode() + noise
    return files


def archive_of(content, name="voc2007/a.tar", image_set="trainval", count=3):
    return Archive(name, len(content), hashlib.sha256(content).hexdigest(), "VOC2007", image_set, count)


CONTENT = tar_of(voc_files())
ARCHIVE = archive_of(CONTENT)


class Server:
    """Serves files, and misbehaves as its attributes say."""

    def __init__(self):
        self.files = {"/voc2007/a.tar": CONTENT}
        self.requests = []  # path and Range
        self.ranges = True  # answer them
        self.lengths = True  # say how long the answer is
        self.break_after = []  # for each request to come, bytes after which the connection ends
        self.answers = []  # for each request to come, an error code
        self.delay = 0.0  # seconds between blocks
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.serve(self)

            def log_message(self, *args):
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"
        threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def serve(self, handler):
        wanted = handler.headers.get("Range")
        self.requests.append((handler.path, wanted))
        content = self.files.get(handler.path)
        if self.answers and (code := self.answers.pop(0)):
            return handler.send_error(code)
        if content is None:
            return handler.send_error(404)
        start = 0
        if wanted and self.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return handler.send_error(416)
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.lengths:
            handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        end = start + self.break_after.pop(0) if self.break_after else len(content)
        for at in range(start, min(end, len(content)), 16384):
            try:
                handler.wfile.write(content[at : min(at + 16384, end)])
            except ConnectionError:
                return None
            time.sleep(self.delay)
        return None


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.001)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    yield server
    server.httpd.shutdown()
    server.httpd.server_close()


def content_of(folder):
    """The files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def fetch_it(server, folder, archive=ARCHIVE):
    url = f"{server.url}/{archive.path}"
    fetch(url, folder / archive.name, archive.size, archive.sha256, quiet)


# ---------------------------------------------------------------- fetching


def test_an_empty_file(server, tmp_path):
    server.files["/empty.tar"] = b""
    fetch_it(server, tmp_path, archive_of(b"", "empty.tar"))
    assert content_of(tmp_path) == {"empty.tar": b""}


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize(
    ("part", "behaviour", "ranges"),
    [
        (b"", {}, [None]),
        # A broken transfer goes on where it stopped, also in a later run.
        (b"", {"break_after": [30_000, 40_000]}, [None, "bytes=30000-", "bytes=70000-"]),
        (CONTENT[:50_000], {}, ["bytes=50000-"]),
        # A part that is whole is only checked, one that is too long begun anew.
        (CONTENT, {}, []),
        (CONTENT + b"more", {}, [None]),
        (b"", {"ranges": False, "break_after": [30_000]}, [None, "bytes=30000-"]),
        # A busy server is asked again.
        (b"", {"answers": [503, 429, 500]}, [None] * 4),
    ],
)
def test_a_file_arrives_whole(server, tmp_path, part, behaviour, ranges, lengths):
    vars(server).update({"lengths": lengths, **copy.deepcopy(behaviour)})
    if part:
        (tmp_path / "a.tar.part").write_bytes(part)
    fetch_it(server, tmp_path)
    assert content_of(tmp_path) == {"a.tar": CONTENT}
    assert server.requests == [("/voc2007/a.tar", wanted) for wanted in ranges]


def test_a_server_that_never_answers_is_given_up_and_the_part_stays(server, tmp_path):
    server.break_after = [20_000]
    server.answers = [0, *[503] * 100]
    with pytest.raises(InputError, match=r"no way to fetch it \(the server's answer 503 .*run it again"):
        fetch_it(server, tmp_path)
    assert content_of(tmp_path) == {"a.tar.part": CONTENT[:20_000]}
    assert len(server.requests) == download.TRIES


def test_no_server_and_no_file(server, tmp_path):
    """A missing file is not asked for twice."""
    server.files.clear()
    with pytest.raises(InputError, match="404"):
        fetch_it(server, tmp_path)
    assert len(server.requests) == 1
    server.httpd.shutdown()
    server.httpd.server_close()
    with pytest.raises(InputError, match=r"no way to fetch it \(.*[Rr]efused"):
        fetch_it(server, tmp_path)


@pytest.mark.parametrize("part", [0, 50_000, 100_000])
@pytest.mark.parametrize("lengths", [True, False])
def test_a_file_of_another_size_is_refused(server, tmp_path, part, lengths):
    server.lengths = lengths
    (tmp_path / "a.tar.part").write_bytes(CONTENT[:part])
    server.files["/voc2007/a.tar"] = CONTENT[:90_000] if lengths else CONTENT + b"more"
    expected = r"a file of (90000|more than \d+) bytes; expected the official one's"
    with pytest.raises(InputError, match=expected):
        fetch_it(server, tmp_path)
    assert not (tmp_path / "a.tar").exists()


@pytest.mark.parametrize("part", [0, 50_000])
def test_a_wrong_checksum_is_refused_and_the_part_removed(server, tmp_path, part):
    (tmp_path / "a.tar.part").write_bytes(b"x" * part)
    if not part:
        server.files["/voc2007/a.tar"] = b"x" * len(CONTENT)
    with pytest.raises(InputError, match=rf"SHA-256 \w+; expected {ARCHIVE.sha256}: .* was removed"):
        fetch_it(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- unpacking


def test_unpacking(tmp_path):
    (tmp_path / "a.tar").write_bytes(CONTENT)
    root = tmp_path / "root"
    assert not is_installed(ARCHIVE, root)
    unpack(tmp_path / "a.tar", root, quiet)
    assert content_of(root) == {
        name.removeprefix("VOCdevkit/"): content for name, content in voc_files().items()
    }
    assert is_installed(ARCHIVE, root)
    (root / "VOC2007/JPEGImages/000002.jpg").unlink()
    assert not is_installed(ARCHIVE, root)


def link(name, target, kind):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "content",
    [
        tar_of({**voc_files(), "VOCdevkit/../../escaped.txt": b"x"}),
        tar_of({**voc_files(), "../escaped.txt": b"x"}),
        tar_of({**voc_files(), "/tmp/escaped.txt": b"x"}),
        tar_of({**voc_files(), "elsewhere/escaped.txt": b"x"}),
        tar_of(voc_files(), link("VOCdevkit/up", "../..", tarfile.SYMTYPE)),
        tar_of(voc_files(), link("VOCdevkit/up", "/etc/passwd", tarfile.LNKTYPE)),
        tar_of(voc_files(), link("VOCdevkit/pipe", "", tarfile.FIFOTYPE)),
    ],
    ids=["dots", "outside", "absolute", "elsewhere", "symlink", "hard link", "pipe"],
)
def test_an_archive_that_reaches_outside_is_refused_whole(tmp_path, content):
    root = tmp_path / "deep" / "root"
    root.mkdir(parents=True)
    file = tmp_path / "evil.tar"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"evil.tar: found a (member|link or device) .* do not use"):
        unpack(file, root, quiet)
    assert content_of(tmp_path) == {"evil.tar": content}
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100, CONTENT[:60_000]])
def test_what_is_no_whole_tar_is_refused(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"a.tar: found an archive that cannot be unpacked"):
        unpack(tmp_path / "a.tar", tmp_path / "root", quiet)
    assert not (tmp_path / "root" / "VOC2007").exists()


# ---------------------------------------------------------------- installing and the command


def test_installing_once(server, tmp_path):
    assert install(ARCHIVE, tmp_path, server.url, quiet)
    assert is_installed(ARCHIVE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["VOC2007"]  # no archive, no part, nothing half done
    assert not install(ARCHIVE, tmp_path, server.url, quiet)
    assert len(server.requests) == 1


def test_two_archives_share_a_tree(server, tmp_path):
    other = tar_of(voc_files("test", ["000004", "000005"]))
    server.files["/voc2007/b.tar"] = other
    second = archive_of(other, "voc2007/b.tar", "test", 2)
    assert install(ARCHIVE, tmp_path, server.url, quiet)
    assert install(second, tmp_path, server.url + "/", quiet, keep=True)
    assert is_installed(ARCHIVE, tmp_path)
    assert is_installed(second, tmp_path)
    assert (tmp_path / "b.tar").read_bytes() == other


def test_an_archive_at_hand_is_used_and_left_and_a_wrong_one_named(server, tmp_path):
    (tmp_path / "a.tar").write_bytes(b"mine")
    with pytest.raises(InputError, match="move it away"):
        install(ARCHIVE, tmp_path, server.url, quiet)
    assert content_of(tmp_path) == {"a.tar": b"mine"}
    (tmp_path / "a.tar").write_bytes(CONTENT)
    assert install(ARCHIVE, tmp_path, server.url, quiet)
    assert (tmp_path / "a.tar").exists()
    assert server.requests == []


@pytest.mark.parametrize(
    ("changes", "message", "requests"),
    [
        ({"size": 10**18}, r"GB of free space; expected 2000000000.0 GB, for a.tar", 0),
        ({"images": 4}, "expected the 4 images of its list trainval", 1),
    ],
)
def test_too_little_room_and_too_few_images(server, tmp_path, changes, message, requests):
    with pytest.raises(InputError, match=message):
        install(replace(ARCHIVE, **changes), tmp_path, server.url, quiet)
    assert len(server.requests) == requests


def test_the_command(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download, "DATASETS", {"voc2007": (ARCHIVE,)})
    arguments = ["voc2007", "--root", str(tmp_path / "new" / "root"), "--source", server.url]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("VOC2007: trainval, 3 images, unpacked\n")
    assert "a.tar: fetching 100%" in printed.err
    assert main(arguments) == 0
    assert capsys.readouterr().out.endswith("VOC2007: trainval, 3 images, there already\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "ftp://x"], "error: --source: found ftp://x; expected an address"),
        (["--root", "{}/file/root"], "error: {}/file/root: found Not a directory; expected a place"),
        # The real archives are not to be replaced by others.
        (
            ["--source", "{url}"],
            "error: {url}/voc2007/VOCtrainval_06-Nov-2007.tar: found a file of {size} bytes; "
            "expected the official one's 460032000",
        ),
    ],
)
def test_errors_of_the_command(server, tmp_path, capsys, arguments, message):
    server.files["/voc2007/VOCtrainval_06-Nov-2007.tar"] = CONTENT
    (tmp_path / "file").touch()
    arguments = [argument.format(tmp_path, url=server.url) for argument in arguments]
    assert main(["voc2007", "--root", str(tmp_path), *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(message.format(tmp_path, url=server.url, size=len(CONTENT)))
    assert "Traceback" not in printed.err


def test_an_unknown_data_set(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["voc2008", "--root", str(tmp_path)])
    assert stopped.value.code == 2
    assert "'voc2007', 'voc2012'" in capsys.readouterr().err


def test_control_c_keeps_the_part(server, tmp_path):
    server.delay = 0.5
    code = (
        "import sys; from data import download as d; "
        f"d.DATASETS = {{'voc2007': (d.{ARCHIVE!r},)}}; sys.exit(d.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "voc2007", "--root", str(tmp_path), "--source", server.url]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    part = tmp_path / "a.tar.part"
    deadline = time.monotonic() + 20
    while not part.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130, error
    assert error.endswith("stopped; run the same command to go on\n")
    assert "Traceback" not in error
    server.delay = 0
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert is_installed(ARCHIVE, tmp_path)


@pytest.mark.parametrize(
    ("top", "cut", "message"),
    [
        ("cifar-100-python", 0, None),
        ("cifar-10-batches-py", 0, "paths below cifar-100-python only: do not use this file"),
        ("cifar-100-python", 100, "tar.gz: found an archive that cannot be unpacked"),
    ],
    ids=["whole", "another", "damaged"],
)
def test_the_archive_of_cifar_is_unpacked_into_its_folder(tmp_path, top, cut, message):
    files = {name: name.encode() * 99 for name in ("file.txt~", "meta", "test", "train")}
    content = gzip.compress(tar_of({f"{top}/{name}": text for name, text in files.items()}))[: -cut or None]
    cifar = download.DATASETS["cifar100"][0]
    archive = replace(cifar, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    (tmp_path / archive.name).write_bytes(content)
    assert not is_installed(archive, tmp_path)
    if message:
        with pytest.raises(InputError, match=message):
            install(archive, tmp_path, "http://nowhere", quiet)
        assert not list(tmp_path.rglob("train*"))
    else:
        assert install(archive, tmp_path, "http://nowhere", quiet)
        assert content_of(tmp_path / top) == files
        assert is_installed(archive, tmp_path)
        assert not install(archive, tmp_path, "http://nowhere", quiet)


# ---------------------------------------------------------------- progress


def test_progress_in_a_log(capsys, monkeypatch):
    clock = iter([100.0, 100.5, 111.0, 120.0, 120.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    line = ProgressLine("a.tar")
    line("fetching", 40_000_000, 100_000_000)  # resumed: the rate counts from here
    line("fetching", 45_000_000, 100_000_000)  # too soon
    line("fetching", 62_000_000, 100_000_000)
    line("fetching", 100_000_000, 100_000_000)
    line("checking", 0, 0)
    lines = [text.rstrip() for text in capsys.readouterr().err.splitlines()]
    assert lines == [
        "a.tar: fetching  40%",
        "a.tar: fetching  62%, 2.0 MB/s, 0:19 left",
        "a.tar: fetching 100%, 3.0 MB/s, 0:00 left",
        "a.tar: checking   0%",
    ]
