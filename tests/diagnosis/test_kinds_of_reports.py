"""Reports that are there already, interrupted runs, warnings, bad batches."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from data.records import Detections, GroundTruth, InputError
from diagnosis import diagnose
from diagnosis import write_results as writing
from diagnosis.__main__ import main
from diagnosis.detections_table import write_detections_table
from tests.data import scenes
from tests.data.scenes import coco_object, coco_result, write_coco, write_json

BOX, OTHER = [100, 100, 50, 40], [300, 50, 40, 40]
FILES = ["detections.parquet", "diagnosis.json", "summary.txt"]


def command_of(folder, truth, found):
    """Arguments of a quick run into ``out``."""
    files = ["--ground-truth", truth, "--detections", found, "--out", folder / "out"]
    return [*map(str, files), "--no-figures", "--verbose", "--replicates", "0"]


@pytest.fixture
def command(tmp_path):
    truth = write_coco(tmp_path, [coco_object(1, 1, BOX), coco_object(1, 2, OTHER)])
    found = write_json(tmp_path / "found.json", [coco_result(1, 1, BOX), coco_result(1, 2, OTHER)])
    return command_of(tmp_path, truth, found)


def numbers_of(folder):
    return json.loads((folder / "out" / "diagnosis.json").read_text())


def contents(folder):
    return {file.name: file.read_bytes() if file.is_file() else None for file in folder.iterdir()}


# --- a report that is there already ---------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_kind_a_folder_in_the_place_of_a_result(tmp_path, command, capsys, name):
    assert main(command) == 0
    (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / name).mkdir()
    before = contents(tmp_path / "out")
    assert main(command) == 2
    assert f"{name}: found a folder; expected no folder of the name of a result" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    "numbers",
    [
        {"provenance": {"files": ["precious.txt"]}},
        {"provenance": {"files": ["precious.txt"], "sha256": {"precious.txt": "0" * 64, "gone.txt": ""}}},
        {"provenance": {"sha256": {"../precious.txt": "0" * 64}}},
        {"provenance": {"sha256": ["precious.txt"]}},
        {"provenance": None},
        [],
    ],
)
def test_kind_files_of_the_user_stay(tmp_path, command, numbers):
    out = tmp_path / "out"
    write_json(out / "diagnosis.json", numbers)
    for file in (out / "precious.txt", tmp_path / "precious.txt"):
        file.write_text("mine")
    assert main(command) == 0
    assert (out / "precious.txt").read_text() == (tmp_path / "precious.txt").read_text() == "mine"


def test_kind_only_what_a_run_wrote_is_removed(tmp_path, command):
    out = tmp_path / "out"
    assert main(command) == 0
    numbers = numbers_of(tmp_path)
    digests = numbers["provenance"]["sha256"]
    assert sorted(digests) == ["detections.parquet", "summary.txt"]
    for name in ("old.png", "changed.png"):
        (out / name).write_text("drawn")
        digests[name] = writing._digest(out / name)
    (out / "changed.png").write_text("changed by the user")
    (out / "link.png").symlink_to(out / "old.png")
    digests["link.png"] = digests["old.png"]
    write_json(out / "diagnosis.json", numbers)
    assert main(command) == 0
    assert sorted(contents(out)) == sorted([*FILES, "changed.png", "link.png"])


@pytest.mark.parametrize("failing", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_kind_a_failing_swap_leaves_the_earlier_report(tmp_path, command, monkeypatch, failing, error):
    assert main(command) == 0
    before, calls = contents(tmp_path / "out"), []
    replace = writing.Path.replace

    def fail(self, target):
        if writing.PART in f"{self.parent}{target}" and not self.name.startswith("."):
            calls.append(target)
            if len(calls) == failing:
                raise error
        return replace(self, target)

    monkeypatch.setattr(writing.Path, "replace", fail)
    assert main(command) == (2 if isinstance(error, OSError) else 130)
    assert len(calls) >= failing
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("moved", [False, True])
def test_kind_what_a_killed_run_left(tmp_path, command, moved):
    out = tmp_path / "out"
    assert main(command) == 0
    before = contents(out)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    part = out / f"{writing.PART}abc"
    owner = {"host": writing.socket.gethostname(), "process": dead.pid}
    write_json(part / writing.OWNER, owner)
    if moved:  # in the middle of the swap
        write_json(part / "names.json", FILES)
        (part / writing.EARLIER).mkdir()
        for name in FILES[1:]:
            (out / name).replace(part / writing.EARLIER / name)
        (out / "summary.txt").write_text("new")
        (part / "detections.parquet").write_text("new, not yet moved")
    foreign, running = out / f"{writing.PART}mine", out / f"{writing.PART}running"
    write_json(foreign / "notes.txt", "mine")
    write_json(running / writing.OWNER, owner | {"process": os.getpid()})
    writing._clean_up(out)
    assert contents(out) == before | {foreign.name: None, running.name: None}


# --- interrupted runs -----------------------------------------------------------------------------


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_kind_an_interrupted_run_leaves_no_trace(tmp_path, command, sent, code):
    out = tmp_path / "out"
    script = (
        "import sys, time; from diagnosis import __main__, write_results as w; from pathlib import Path\n"
        "def wait(*_): Path(sys.argv[1], 'here').touch(); time.sleep(60)\n"
        "w.write_text = wait; sys.exit(__main__.main(sys.argv[2:]))"
    )
    words = [sys.executable, "-c", script, str(tmp_path), *command]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if (tmp_path / "here").exists():
            break
        time.sleep(0.05)
    process.send_signal(sent)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in said
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("option", ["--ground-truth", "--detections", "--out", "--images", "--similar"])
@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "\udcff"])
def test_kind_names_of_files_that_cannot_be(tmp_path, command, capsys, option, name):
    assert main([*command, option, name]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("count", [-1, 100_001, 10**30])
def test_kind_replicates_without_bound(command, capsys, count):
    assert main([*command, "--replicates", str(count)]) == 2
    assert "--replicates: found" in capsys.readouterr().err


# --- warnings -------------------------------------------------------------------------------------


def test_warnings_are_repeated_in_the_numbers_and_on_the_page(tmp_path, command, capsys, monkeypatch):
    write_coco(tmp_path, [coco_object(1, 1, BOX), coco_object(1, 1, BOX)])
    assert main(command) == 0
    said = capsys.readouterr()
    warned = "truth.json: 1 object is there twice"
    assert said.err.count(warned) == said.out.count(warned) == 1
    assert main([word for word in command if word != "--no-figures"]) == 0
    assert warned in (tmp_path / "out" / "report.html").read_text()
    capsys.readouterr()
    assert sum(warned in note for note in numbers_of(tmp_path)["notes"]) == 1
    assert main([*command, "--strict"]) == 2
    assert "error: " in (error := capsys.readouterr().err)
    assert warned in error


def test_kind_objects_beyond_the_border_are_counted_once(tmp_path, command, capsys):
    write_coco(tmp_path, [coco_object(1, 1, [600, 10, 60, 50]), coco_object(1, 2, BOX)])
    assert main(command) == 0
    assert capsys.readouterr().out.count("beyond the") == 1
    content = numbers_of(tmp_path)
    (note,) = (note for note in content["notes"] if "beyond the" in note)
    assert "annotations[0]: the box 600 10 660 60 in an image of 640×480 pixels; clipped" in note
    assert content["detectors"][0]["account"]["objects_outside"] == 1


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([[125, 120, 50, 40], [320, 70, 40, 40]], ["--box-format", "cxcywh"]),
        ([[100 / 640, 100 / 480, 150 / 640, 140 / 480]], ["--box-format", "xyxy", "--normalized"]),
    ],
)
def test_kind_options_of_the_command(tmp_path, command, capsys, values, options):
    write_json(tmp_path / "found.json", [coco_result(1, 1 + i, box) for i, box in enumerate(values)])
    assert main(command) == 0
    assert f"warning: {tmp_path}/found.json: the boxes, read as xywh, look like" in capsys.readouterr().err
    assert main([*command, *options, "--strict"]) == 0
    assert numbers_of(tmp_path)["detectors"][0]["classes"]["cat"]["top"]["correct"] == 1


def test_kind_voc_that_counts_from_0_by_command(tmp_path, capsys):
    (tmp_path / "a.xml").write_text(scenes.voc_xml([("hat", [0, 0, 200, 100])], None))
    scenes.write_image(tmp_path / "a.png", (640, 480))
    (tmp_path / "found.csv").write_text("image,class,score,xmin,ymin,xmax,ymax\na,hat,0.9,0,0,200,100\n")
    command = command_of(tmp_path, tmp_path, tmp_path / "found.csv")
    assert main(command) == 2
    assert "--pixels-from 0" in capsys.readouterr().err
    assert main([*command, "--pixels-from", "0"]) == 0
    assert "the classes are those that occur" in capsys.readouterr().err


def test_kind_help_says_the_order(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "class x_center y_center width height confidence" in said


def test_kind_no_formula_in_a_csv_file(tmp_path):
    """A spreadsheet would compute what begins with =, +, - or @."""
    names = ["=1+1", "+x", "-x", "@x", "x=1"]
    rows = [[0, 10 * i, 9, 10 * i + 9] for i in range(5)]
    truth = GroundTruth(["a"], names, [[90, 90]], [0] * 5, range(5), rows)
    found = Detections(["a"], names, [0] * 5, range(5), [0.9] * 5, rows)
    write_detections_table([diagnose(truth, found, coco=False)], tmp_path / "found.csv")
    with (tmp_path / "found.csv").open() as file:
        table = list(csv.DictReader(file))
    assert sorted(row["class"] for row in table) == sorted(["'=1+1", "'+x", "'-x", "'@x", "x=1"])
    assert {float(row["score"]) for row in table} == {0.9}


# --- the metric -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "change", "message"),
    [
        ("preds", {"labels": [2]}, r"preds\[1\]\['labels'\]\[0\]: found 2; expected 0 to 1"),
        ("preds", {"labels": [-1]}, r"found -1"),
        ("preds", {"labels": [0.5]}, r"found 0.5"),
        ("preds", {"scores": [float("nan")]}, r"preds\[1\]\['scores'\]\[0\]: found nan; expected a finite"),
        ("preds", {"scores": [True]}, r"\['scores'\]: found truth values"),
        ("preds", {"boxes": [[0, 0, np.inf, 1]]}, r"preds\[1\]\['boxes'\]\[0\]: found \[0.0, 0"),
        ("preds", {"boxes": [[9.0, 0, 1, 1]]}, r"preds\[1\]\['boxes'\]\[0\]: .*xyxy with xmin <= xmax"),
        ("target", {"labels": [7]}, r"target\[1\]\['labels'\]\[0\]: found 7"),
        ("target", {"boxes": [[0.0, 0, 0, 9]]}, r"target\[1\]\['boxes'\]\[0\]: .*positive area"),
        ("target", {"iscrowd": [2]}, r"target\[1\]\['iscrowd'\]\[0\]: found 2; expected 0 or 1"),
        ("target", {"difficult": [0.5]}, r"target\[1\]\['difficult'\]\[0\]: found 0.5"),
    ],
)
def test_kind_the_metric_refuses_at_once(where, change, message):
    torch = pytest.importorskip("torch")
    from diagnosis.metric import ErrorBreakdown

    good = {"boxes": [[0.0, 0, 9, 9]], "scores": [0.5], "labels": [1]}
    batch = {"preds": [good, good], "target": [good, good]}
    batch[where] = [good, good | change]
    tensors = [[{key: torch.tensor(v) for key, v in one.items()} for one in rows] for rows in batch.values()]
    metric = ErrorBreakdown(["cat", "dog"])
    with pytest.raises(InputError, match=message):
        metric.update(*tensors)
    assert metric.image_ids == []


def test_kind_yolo_whose_image_is_not_there_by_command(tmp_path, capsys):
    path = scenes.write_yolo(tmp_path, {"a": "0 0.5 0.5 0.1 0.1"})
    path.write_text("names: [cat]\nval: list.txt\n")
    (tmp_path / "list.txt").write_text("gone.png\n")
    assert main(command_of(tmp_path, path, tmp_path)) == 2
    assert "list.txt:1: found the image 'gone.png', which is not there" in capsys.readouterr().err
