"""Fetches VOC and CIFAR-100, each from its official server: ``python -m data.download voc2007 --root PATH``.

A transfer that breaks off goes on where it stopped, also in a later run. An archive is unpacked only when its
checksum is right, and what is there already is not fetched again.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import http.client
import lzma
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from data.formats.files import reason
from data.records import InputError
from spatial_dependency import program

__all__ = [
    "CIFAR_SOURCE", "DATASETS", "SOURCE", "Archive", "ProgressLine", "Report", "check_digest", "fetch",
    "install", "is_installed", "main", "unpack",
]  # fmt: skip

SOURCE = "http://host.robots.ox.ac.uk/pascal/VOC/"
CIFAR_SOURCE = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class Archive:
    """A tar file of an official server and what it holds."""

    path: str
    """Below the source."""
    size: int
    """In bytes."""
    sha256: str
    """Hexadecimal. Those of :data:`DATASETS` are the ones that torchvision, TensorFlow Datasets and Keras
    publish."""
    folder: str
    """The folder of the tree that it fills: ``VOC2007``."""
    image_set: str
    """One of its lists in ``ImageSets/Main``, or what its images are called."""
    images: int
    """How many images that has."""
    source: str = SOURCE
    """The server."""
    top: str = "VOCdevkit"
    """The folder that all is in, in the archive."""
    files: tuple[str, ...] = ()
    """Of the tree, those that make it complete; none: a VOC tree, see :func:`is_installed`."""

    @property
    def name(self) -> str:
        """The file's name."""
        return PurePosixPath(self.path).name


DATASETS = {
    "voc2007": (
        Archive(
            "voc2007/VOCtrainval_06-Nov-2007.tar", 460_032_000,
            "7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508", "VOC2007", "trainval", 5011,
        ),
        Archive(
            "voc2007/VOCtest_06-Nov-2007.tar", 451_020_800,
            "6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892", "VOC2007", "test", 4952,
        ),
    ),
    "voc2012": (
        Archive(
            "voc2012/VOCtrainval_11-May-2012.tar", 1_999_639_040,
            "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb", "VOC2012", "trainval", 11540,
        ),
    ),
    "cifar100": (
        Archive(
            "cifar-100-python.tar.gz", 169_001_437,
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7", "cifar-100-python",
            "train and test", 60_000, CIFAR_SOURCE, "cifar-100-python", ("meta", "test", "train"),
        ),
    ),
}  # fmt: skip


# ---------------------------------------------------------------- fetching

TIMEOUT_SECONDS = 30.0  # without a byte, after which a transfer counts as broken off
TRIES = 6  # in a row that bring nothing
PAUSE_SECONDS = 1.0  # before the second of them; doubled before each further one
CHUNK_BYTES = 1 << 20  # read at a time

Report: TypeAlias = Callable[[str, int, int], None]
"""(what is being done, how much of it is done, out of how much), called often."""


class _BrokenOff(Exception):  # noqa: N818
    """The transfer stopped before the end; another try may help."""


def _request(url: str, start: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        answer = f"the server's answer {error.code} {error.reason}"
        if error.code >= 500 or error.code in (408, 429):
            raise _BrokenOff(answer) from None
        if error.code == 416 and start:  # its file is shorter than our part of it: see what it has
            return _request(url, 0)
        raise InputError(url, answer, "the file: another source may have it") from None
    except (http.client.HTTPException, OSError) as error:  # URLError is an OSError
        raise _BrokenOff(str(getattr(error, "reason", error)) or type(error).__name__) from None
    return response


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _next_block(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK_BYTES)
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenOff(reason(error)) from None


def _receive(url: str, part: Path, size: int, report: Report) -> None:
    """Go on with `part` until it has `size` bytes, or raise _BrokenOff."""
    done = _size(part)
    if done == size and part.exists():
        return
    with _request(url, done if done < size else 0) as response:
        resumed = (response.headers.get("Content-Range") or "").startswith(f"bytes {done}-")
        if not (response.status == 206 and resumed):
            done = 0  # a server that knows no ranges sends the whole file
        length = response.headers.get("Content-Length")
        if length is not None and done + int(length) != size:
            raise InputError(url, f"a file of {done + int(length)} bytes", f"the official one's {size}")
        with part.open("ab" if done else "wb") as file:
            report("fetching", done, size)
            while done <= size and (block := _next_block(response)):
                file.write(block)
                done += len(block)
                report("fetching", min(done, size), size)
    if done > size:
        part.unlink()
        raise InputError(url, f"a file of more than {size} bytes", f"the official one's {size}")
    if done < size:
        raise _BrokenOff(f"an end after {done} bytes")


def check_digest(file: Path, sha256: str, report: Report, remedy: str) -> None:
    """Raise an InputError that ends with `remedy` if the file's SHA-256 is another."""
    digest, done, size = hashlib.sha256(), 0, _size(file)
    with file.open("rb") as stream:
        while block := stream.read(CHUNK_BYTES):
            digest.update(block)
            done += len(block)
            report("checking", done, size)
    if digest.hexdigest() != sha256:
        raise InputError(file, f"SHA-256 {digest.hexdigest()}", f"{sha256}: {remedy}")


def fetch(url: str, file: Path, size: int, sha256: str, report: Report) -> None:
    """Fetch a file and check it. What has arrived lies in ``FILE.part``; a later call goes on with it.

    Raises
    ------
    InputError
        No such file there; one of another size; no connection for several tries (the part stays, for another
        run); a wrong checksum (the part goes: to go on with it would not mend it).
    """
    part = file.with_name(file.name + ".part")
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(url, part, size, report)
            break
        except _BrokenOff as error:
            failures = 1 if _size(part) > before else failures + 1
            if failures >= TRIES:
                expected = (
                    "a server that answers: run it again to go on where it stopped, or name another source"
                )
                raise InputError(url, f"no way to fetch it ({error})", expected) from None
            pause = PAUSE_SECONDS * 2 ** (failures - 1)
            report(f"waiting {pause:g} s after {error}:", _size(part), size)
            time.sleep(pause)
    try:
        check_digest(part, sha256, report, f"what {url} sent is not the official file, and was removed")
    except InputError:
        part.unlink()
        raise
    part.replace(file)


# ---------------------------------------------------------------- unpacking

LARGEST_EXPANSION = 20  # times the size of the archive
ROOM_FOR_TEXT_BYTES = 64 << 20  # annotations compress well


def is_installed(archive: Archive, root: Path) -> bool:
    """Whether the images and annotations of the archive's list are all below `root`, by whatever way.

    Of an archive that names its :attr:`Archive.files`: whether these are.
    """
    tree = root / archive.folder
    if archive.files:
        return all((tree / file).is_file() for file in archive.files)
    try:
        images = (tree / "ImageSets" / "Main" / f"{archive.image_set}.txt").read_text("utf-8").split()
    except (OSError, UnicodeDecodeError):
        return False
    return len(images) == archive.images and all(
        (tree / "JPEGImages" / f"{image}.jpg").is_file() and (tree / "Annotations" / f"{image}.xml").is_file()
        for image in images
    )


def _members(tar: tarfile.TarFile, file: Path, top: str) -> list[tarfile.TarInfo]:
    """All members, if each is a plain file or folder below `top`, and they are not many times as large.

    Images hardly compress: a small file that becomes a large one is meant to fill the disk.
    """
    size, total, members = _size(file), 0, []
    most = LARGEST_EXPANSION * size + ROOM_FOR_TEXT_BYTES

    def refused(found: str, expected: str) -> InputError:
        return InputError(file, found, f"{expected}: do not use this file")

    for member in tar:
        members.append(member)
        total += member.size
        if total > most:
            found = f"more than {most / 1e6:,.0f} MB of files in an archive of {size / 1e6:,.1f} MB"
            raise refused(found, "images, which hardly compress")
        parts = PurePosixPath(member.name).parts
        if parts[:1] != (top,) or ".." in parts:
            raise refused(f"a member {member.name!r}", f"paths below {top} only")
        if not (member.isfile() or member.isdir()):
            raise refused(f"a link or device {member.name!r}", "plain files only")
    return members


def unpack(file: Path, root: Path, report: Report, top: str = "VOCdevkit") -> None:
    """Unpack an archive, so that ``VOCdevkit/VOC2007/…`` in it becomes ``ROOT/VOC2007/…``.

    It is unpacked beside its place and then moved, the lists of images last: where these are, all is. `top`
    is the folder that all is in, in the archive.

    Raises
    ------
    InputError
        Not a tar file, or one with anything but plain files below that folder. Nothing is unpacked then.
    """
    if not hasattr(tarfile, "data_filter"):
        raise InputError("Python", sys.version.split()[0], "3.11.4 or later, which can unpack safely")
    staging = root / f".{file.name}.unpacking"
    shutil.rmtree(staging, ignore_errors=True)  # of an interrupted run
    try:
        with tarfile.open(file, "r:*") as tar:
            members = _members(tar, file, top)
            staging.mkdir(parents=True)
            for count, member in enumerate(members, start=1):
                tar.extract(member, staging, filter="data")
                report("unpacking", count, len(members))
        unpacked = staging / top
        files = [path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()]
        for path in sorted(files, key=lambda path: "ImageSets" in path.parts):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (unpacked / path).replace(root / path)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, MemoryError) as error:
        # MemoryError: fifteen bytes of LZMA may ask for a dictionary of 4 GB.
        found = f"an archive that cannot be unpacked ({reason(error)})"
        raise InputError(file, found, f"a tar file of {top}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def install(archive: Archive, root: Path, source: str, report: Report, *, keep: bool = False) -> bool:
    """Fetch, check and unpack an archive, or as much of this as is still to do.

    An archive that lies in `root` already is used, and left there. One that was fetched is removed in the
    end, unless `keep`.

    Returns
    -------
    bool
        Whether there was anything to do.

    Raises
    ------
    InputError
        See :func:`fetch` and :func:`unpack`; also too little room on the disk, or a wrong
        archive in `root`.
    """
    if is_installed(archive, root):
        return False
    root.mkdir(parents=True, exist_ok=True)
    file = root / archive.name
    given = file.exists()
    if given:
        check_digest(file, archive.sha256, report, "not the official archive; move it away to fetch that")
    else:
        needed, free = 2 * archive.size, shutil.disk_usage(root).free
        if free < needed:
            expected = f"{needed / 1e9:.1f} GB, for {archive.name} and its files"
            raise InputError(root, f"{free / 1e9:.1f} GB of free space", expected)
        fetch(source.rstrip("/") + "/" + archive.path, file, archive.size, archive.sha256, report)
    tree = root / archive.folder
    unpack(file, tree if archive.top == archive.folder else root, report, archive.top)
    if not is_installed(archive, root):
        images = f"the {archive.images} images of its list {archive.image_set}, with annotations"
        expected = ", ".join(archive.files) or images
        raise InputError(tree, f"not all that {archive.name} should bring", expected)
    if not (keep or given):
        file.unlink()
    return True


# ---------------------------------------------------------------- the command


class ProgressLine:
    """A :data:`Report` on one line of the terminal, with rate and time left; in a log now and then a line.

    Parameters
    ----------
    name
        What the line begins with.
    """

    def __init__(self, name: str) -> None:
        self.name, self.doing = name, ""
        self.terminal = sys.stderr.isatty()
        self.began = self.shown = 0.0
        self.first = 0

    def __call__(self, doing: str, done: int, total: int) -> None:
        """Say how far it is, unless that was said a moment ago."""
        now = time.monotonic()
        if doing != self.doing or done < self.first:
            self.doing, self.began, self.first, self.shown = doing, now, done, 0.0
        if done < total and now - self.shown < (0.2 if self.terminal else 10):
            return
        self.shown = now
        text = f"{self.name}: {doing} {done / max(total, 1):4.0%}"
        if done > self.first and now > self.began:
            rate = (done - self.first) / (now - self.began)  # of this run: a resumed part came from another
            left = round((total - done) / rate)
            speed = f"{rate:,.0f} files/s" if doing == "unpacking" else f"{rate / 1e6:.1f} MB/s"
            text += f", {speed}, {left // 60}:{left % 60:02} left"
        start, end = ("\r", "" if done < total else "\n") if self.terminal else ("", "\n")
        print(f"{start}{text:<78}", end=end, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        Exit code: 0; 2 after an error that the message says how to mend; 130 when interrupted.
    """
    parser = argparse.ArgumentParser(
        prog=program("python -m data.download"),
        description="Fetch PASCAL VOC or CIFAR-100 from the official server, check it and unpack it.",
        epilog="Interrupted, it goes on where it stopped when it is run again.",
    )
    names = sorted(DATASETS)
    parser.add_argument("datasets", nargs="+", choices=names, metavar="DATASET", help=" or ".join(names))
    parser.add_argument(
        "--root", type=Path, required=True, help="the folder to hold VOC2007, VOC2012, cifar-100-python"
    )
    parser.add_argument(
        "--source", help=f"a mirror, laid out like the default: {SOURCE} and, for cifar100, {CIFAR_SOURCE}"
    )
    parser.add_argument("--keep", action="store_true", help="keep the archives after unpacking")
    options = parser.parse_args(arguments)
    try:
        if not (options.source or SOURCE).startswith(("http://", "https://")):
            raise InputError("--source", options.source, "an address that begins with http:// or https://")
        for dataset in dict.fromkeys(options.datasets):
            for archive in DATASETS[dataset]:
                line, source = ProgressLine(archive.name), options.source or archive.source
                new = install(archive, options.root, source, line, keep=options.keep)
                images = f"{archive.image_set}, {archive.images} images"
                state = "unpacked" if new else "there already"
                print(f"{options.root / archive.folder}: {images}, {state}")
    except (InputError, OSError) as error:
        if isinstance(error, OSError):  # the disk: full, or not to be written to
            where, found = error.filename or options.root, error.strerror or str(error)
            error = InputError(where, found, "a place to write to")
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; run the same command to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
