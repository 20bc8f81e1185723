"""`make fuzz`: each target for its share of the time, two at once, guided by coverage where atheris is there.

    python -m tests.fuzz.run --minutes 30 --executions 200000

Prints a table. What is at fault goes to ``tests/fuzz/corpus/TARGET/``, which
`make test` reads again.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
SECONDS, MEGABYTES = 5, 1024
"""Of CPU time and memory, of one execution; more is a fault."""
TOKENS = (
    b"nan", b"-1", b"1e999", b"null", b"true", b"{}", b"[]", b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"0",
    b"9" * 30, b"--", b":", b"*a", b"&a", b"<!DOCTYPE a>", b"..", b"/", b"\\ud800", b"_", b" ", b"\xc2\xb2",
    b"=1+1", b"inf", b"\xef\xbb\xbf",
)  # fmt: skip


class TooLongError(Exception):
    """An execution took more than :data:`SECONDS`."""


def seeds(name: str, corpus: Path = CORPUS) -> list[bytes]:
    """The corpus of a target, in order."""
    return [file.read_bytes() for file in sorted((corpus / name).iterdir())]


def mutated(contents: list[bytes], seed: int) -> Iterator[bytes]:
    """Inputs without end: those of the corpus cut, joined, and changed here and there."""
    draw = random.Random(seed)
    while True:
        content = bytearray(draw.choice(contents))
        for _ in range(draw.choice((1, 1, 2, 4, 8))):
            place = draw.randrange(len(content) + 1)
            match draw.randrange(6):
                case 0:
                    content[place : place + draw.choice((1, 2, 8, 64))] = b""
                case 1:
                    content[place:place] = draw.choice(TOKENS)
                case 2:
                    content[place : place + 1] = draw.randbytes(1)
                case 3:
                    other = draw.choice(contents)
                    start = draw.randrange(len(other) + 1)
                    content[place:place] = other[start : start + draw.choice((4, 16, 64, 256))]
                case 4:
                    content[place : place + draw.choice((1, 3, 5))] = draw.choice(TOKENS)
                case 5 if content:
                    place %= len(content)
                    content[place] ^= 1 << draw.randrange(8)
        yield bytes(content)


def limit() -> None:
    """Stop an execution that takes too long or too much memory by an exception, which is a fault."""

    def stop(*_: object) -> None:
        raise TooLongError(f"more than {SECONDS} s")

    signal.signal(signal.SIGPROF, stop)
    limit_memory(MEGABYTES)


def limit_memory(megabytes: int) -> None:
    """Let this process have so much more memory than it has."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (megabytes << 20), resource.RLIM_INFINITY))


def watched(run: object, content: bytes) -> None:
    """One execution within :data:`SECONDS` of CPU time; others may use the machine, too."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        run(content)  # type: ignore[operator]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def fuzz(name: str, executions: int, seconds: float, corpus: Path, found: Path) -> None:
    """Fuzz one target in this process: until a fault, the number of executions, or the end of the time."""
    begin = time.monotonic()
    warnings.simplefilter("ignore")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        import atheris
    except ImportError:
        atheris = None
    if atheris is not None:
        with atheris.instrument_imports(
            include=["data", "diagnosis.options", "training.parser", "training.checkpoint", "detector.grid"]
        ):
            from tests.fuzz.targets import TARGETS
    else:
        from tests.fuzz.targets import TARGETS
    run = TARGETS[name]
    for content in seeds(name, corpus):  # imports what is imported late
        run(content)
    limit()
    seconds = max(seconds - (time.monotonic() - begin), 1)
    if atheris is not None:
        longest = max(1024, min(map(len, seeds(name, corpus))))  # longer texts are slow and show no more
        words = [sys.argv[0], tempfile.mkdtemp(prefix="corpus"), str(corpus / name), f"-runs={executions}"]
        words += [f"-max_total_time={int(seconds)}", f"-max_len={longest}", "-print_final_stats=1"]
        words += [f"-artifact_prefix={found}/", "-timeout=600", "-report_slow_units=600", "-rss_limit_mb=0"]
        atheris.Setup(words, lambda content: watched(run, content))
        atheris.Fuzz()
        return
    begin, count = time.monotonic(), 0
    for count, content in enumerate(mutated(seeds(name, corpus), int(begin)), start=1):
        try:
            watched(run, content)
        except BaseException:
            (found / f"crash-{count}").write_bytes(content)
            print(f"stat::number_of_executed_units: {count}")
            raise
        if count >= executions or time.monotonic() - begin > seconds:
            break
    print(f"stat::number_of_executed_units: {count}")


def campaign(names: list[str], executions: int, minutes: float, processes: int) -> int:
    """All targets, some side by side; returns the number of faults, each kind of a target counted once."""
    from tests.fuzz.targets import SLOW

    waiting, lock, faults = len(names), threading.Lock(), 0
    end = time.monotonic() + 60 * minutes

    def one(name: str) -> None:
        nonlocal waiting, faults
        begin = time.monotonic()
        left = end - begin
        share = min(left, left * processes / max(waiting, processes))
        done, kinds = _of_target(name, min(executions, SLOW.get(name, executions)), share, corpus)
        with lock:
            waiting -= 1
            faults += len(kinds)
            print(f"{name:21} {done:10,} {time.monotonic() - begin:8.0f}  {len(kinds) or 'none'}", flush=True)
            for kind, file in kinds.items():
                print(f"    {kind}: {file}", flush=True)

    with tempfile.TemporaryDirectory() as copy, ThreadPoolExecutor(processes) as pool:
        corpus = Path(copy) / "corpus"
        shutil.copytree(CORPUS, corpus)  # what is found must not stop the rest of the campaign
        print(f"{'target':21} {'executions':>10} {'seconds':>8}  faults", flush=True)
        list(pool.map(one, names))
    return faults


def _of_target(name: str, wanted: int, seconds: float, corpus: Path) -> tuple[int, dict[str, str]]:
    """Executions, and the input of each kind of fault."""
    begin, done, kinds, repeated = time.monotonic(), 0, dict[str, str](), 0
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    while done < wanted and repeated < 5 and (left := seconds - (time.monotonic() - begin)) > 0:
        with tempfile.TemporaryDirectory(prefix="fuzz", dir=memory) as work:
            found = Path(work) / "found"
            found.mkdir()
            command = [sys.executable, "-m", "tests.fuzz.run", "--target", name, "--found", str(found)]
            command += ["--corpus", str(corpus), "--executions", str(wanted - done), "--seconds", str(left)]
            ended = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False,
                env={**os.environ, "TMPDIR": work},
            )  # fmt: skip
            said = ended.stdout + ended.stderr
            done += int((re.findall(r"number_of_executed_units: (\d+)", said) or ["0"])[-1])
            inputs = sorted(found.iterdir())
            if not inputs and not ended.returncode:
                break
            lines = [line for line in said.splitlines() if re.match(r"[\w.=\s]*(Error|Exception)\b", line)]
            kind = lines[-1].strip(" =")[:150] if lines else f"exit code {ended.returncode}: {said[-300:]}"
            repeated += kind in kinds
            if kind not in kinds:
                kinds[kind] = ""
                for file in inputs:
                    kinds[kind] = f"found-{file.name[-12:]}"
                    shutil.copy(file, CORPUS / name / kinds[kind])
    return done, kinds


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--executions", type=int, default=200_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--targets", nargs="+")
    parser.add_argument("--target")
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--found", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    faulthandler.enable()
    if options.target:
        fuzz(options.target, options.executions, options.seconds, options.corpus, options.found)
        return 0
    names = options.targets or sorted(file.name for file in CORPUS.iterdir())
    return int(campaign(names, options.executions, options.minutes, options.processes) > 0)


if __name__ == "__main__":
    sys.exit(main())
