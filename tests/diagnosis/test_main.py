"""The command, as a user runs it."""

import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from PIL import Image

from data.records import InputError
from diagnosis import figures, options, progress, provenance
from diagnosis.__main__ import main
from diagnosis.demo import can_open
from diagnosis.figures import FIGURES

XML = """<annotation><size><width>100</width><height>80</height><depth>3</depth></size>
<object><name>{name}</name><difficult>0</difficult><truncated>0</truncated><pose>Left</pose>
<bndbox><xmin>11</xmin><ymin>11</ymin><xmax>50</xmax><ymax>50</ymax></bndbox></object></annotation>
"""
QUICK = ("--no-figures", "--replicates", "0", "--verbose")
LINES = {"dog": ["one 0.9 11 11 50 50", "two 0.8 11 11 50 50"], "cat": ["two 0.7 31 11 70 50"]}


@pytest.fixture
def voc(tmp_path):
    """A VOC tree of two images, a dog's and a cat's, without photographs, and what a detector found."""
    tree = tmp_path / "VOC2007"
    (tree / "Annotations").mkdir(parents=True)
    (tree / "ImageSets" / "Main").mkdir(parents=True)
    (tree / "ImageSets" / "Main" / "test.txt").write_text("one\ntwo\n")
    for image, name in (("one", "dog"), ("two", "cat")):
        (tree / "Annotations" / f"{image}.xml").write_text(XML.format(name=name))
    write_found(tmp_path / "plain", LINES)
    write_found(tmp_path / "shifted", {"dog": ["one 0.9 31 11 70 50"]})
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch):
    """For tests that need the page: fewer resamples."""
    monkeypatch.setattr(options, "REPLICATES", 20)


def write_found(folder, lines):
    folder.mkdir()
    for name, rows in lines.items():
        (folder / f"comp4_det_test_{name}.txt").write_text("".join(f"{row}\n" for row in rows))


def arguments(voc, *more):
    given = {"--ground-truth": f"{voc / 'VOC2007'}:test", "--detections": voc / "plain", "--out": voc / "out"}
    return [str(word) for pair in given.items() for word in pair] + [str(word) for word in more]


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def run(voc, *more):
    """What the command writes to diagnosis.json."""
    assert main(arguments(voc, *more)) == 0
    return json.loads((voc / "out" / "diagnosis.json").read_text())


def photographs(folder):
    folder.mkdir()
    for image in ("one", "two"):
        Image.new("RGB", (100, 80), "grey").save(folder / f"{image}.jpg")


def refused(capsys, voc, *more):
    """Run with arguments that cannot work; return the one line it says."""
    try:
        code = main(arguments(voc, *more))
    except SystemExit as leave:
        code = leave.code
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    lines = [line for line in said.err.splitlines() if not line.startswith("…")]  # but progress
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return said.err


def test_one_detector(voc, capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 600)  # the machine may be slow
    monkeypatch.setattr(Figure, "savefig", lambda _, path, **__: Path(path).write_text("<svg/>"))
    result = run(voc, "--replicates", "20", "--figures", "--verbose")
    said = capsys.readouterr()
    assert said.err == ""
    assert "plain: of the 2 detections counted" in said.out
    assert result["schema"] == 1
    dog = result["detectors"][0]["classes"]["dog"]
    assert (dog["objects"], dog["detections"], dog["top"]["n"], dog["top"]["correct"]) == (1, 2, 1, 1.0)
    assert result["detectors"][0]["classes"]["cat"]["top"]["localization"] == 1.0
    assert "--ground-truth" in result["provenance"]["command"]
    files = result["provenance"]["files"]
    assert {"report.html", "detections.parquet", "summary.txt", "error_pies.svg", "impact.png"} < set(files)
    suffixes = {".html", ".json", ".parquet", ".txt", ".png", ".svg"}
    assert {Path(file).suffix for file in files} == suffixes
    assert all((voc / "out" / file).stat().st_size > 0 for file in files)
    assert sorted(files) == names(voc / "out")
    assert str(voc / "out" / "report.html") in said.out.split("written:\n")[1]


def test_two_detectors_by_name(voc, capsys):
    two = "--detections", voc / "shifted", "--names", "A", "B", "--no-figures", "--verbose", "--replicates"
    result = run(voc, *two, "0")
    said = capsys.readouterr().out
    assert "over the classes in which both detect something: dog." in said
    assert "Localization errors: 0.0 % with A, 100.0 % with B: 100.0 points more." in said
    assert [entry["name"] for entry in result["detectors"]] == ["A", "B"]
    assert result["comparison"] == []

    result = run(voc, *two, "20", "--group", "both", "A", "B")
    (group,) = result["intervals"]
    assert (group["name"], group["runs"]) == ("both", ["A", "B"])

    result = run(voc, *two, "20")
    assert "20 resamples of 2 images" in capsys.readouterr().out
    (pair,) = result["comparison"]
    assert (pair["a"], pair["b"], pair["share"]["localization"]["difference"]) == ("A", "B", 1.0)


def test_numbers_alone_and_nothing_stale(voc, undrawn):
    run(voc, "--replicates", "0")
    assert (voc / "out" / "report.html").is_file()
    (voc / "out" / "notes.txt").write_text("mine")
    run(voc, *QUICK)
    assert names(voc / "out") == ["detections.parquet", "diagnosis.json", "notes.txt", "summary.txt"]


@pytest.mark.parametrize("name", ["summary.txt", "diagnosis.json", "detections.parquet"])
def test_a_users_file_that_has_the_name_of_a_result_is_moved_aside(voc, capsys, name):
    (voc / "out").mkdir()
    (voc / "out" / name).write_text("mine")
    (voc / "out" / name.replace(".", ".1.")).write_text("an older one")
    run(voc, *QUICK)
    kept = voc / "out" / name.replace(".", ".2.")
    assert kept.read_text() == "mine"
    assert f"{name}: found a file that was not written by a diagnosis" in capsys.readouterr().err
    before = names(voc / "out")
    run(voc, *QUICK)
    assert names(voc / "out") == before
    (voc / "out" / "summary.txt").write_text("changed")
    assert main(arguments(voc, *QUICK, "--strict")) == 2
    assert (voc / "out" / "summary.txt").read_text() == "changed"


@pytest.mark.parametrize("closed", [True, False])
def test_a_standard_output_that_takes_nothing(root, voc, closed):
    command = [sys.executable, "-m", "diagnosis", *arguments(voc, *QUICK)]
    with Path("/dev/full").open("w") as full, subprocess.Popen(["true"], stdin=subprocess.PIPE) as gone:
        gone.wait()
        streams = {"stdout": gone.stdin if closed else full, "stderr": subprocess.PIPE}
        done = subprocess.run(command, cwd=root, text=True, check=False, **streams)
    said = [line for line in done.stderr.splitlines() if not line.startswith("…")]
    if closed:
        assert (done.returncode, said) == (0, [])
    else:
        assert done.returncode == 2
        assert said[-1].startswith("error: standard output: found No space left on device; expected room")
    assert (voc / "out" / "summary.txt").is_file()


@pytest.mark.parametrize(
    ("more", "suffixes"),
    [((), set()), (("--figures", "svg"), {".svg"})],
)
def test_figures_are_written_only_when_asked_for(voc, monkeypatch, more, suffixes):
    monkeypatch.setattr(Figure, "savefig", lambda _, path, **__: Path(path).write_text("<svg/>"))
    files = run(voc, "--replicates", "0", *more)["provenance"]["files"]
    assert {Path(file).suffix for file in files} == {".html", ".json", ".parquet", ".txt"} | suffixes
    assert sorted(files) == names(voc / "out")


@pytest.mark.parametrize("which", [("ap",), ()], ids=["one", "every"])
def test_figures_of_the_command_are_real_pictures(voc, monkeypatch, which):
    monkeypatch.setattr(figures, "FIGURES", [one for one in FIGURES if one.file in which or not which])
    run(voc, "--replicates", "4", "--figures", "png", "svg", "pdf", "--style", "paper", "--processes", "1")
    pictures = sorted((voc / "out").glob("*.svg"))
    assert len(pictures) >= (1 if which else 14)
    for svg in pictures:
        assert ElementTree.parse(svg).getroot().tag.endswith("svg")
        assert svg.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        with Image.open(svg.with_suffix(".png")) as png:
            assert min(abs(png.width - 320 * inches) for inches in (3.3, 6.9)) <= 2
            darkest, lightest = png.convert("L").getextrema()
            assert darkest < 100 < 250 < lightest


@pytest.mark.parametrize("names", [("--names", "A", "B"), ("--names", "A", "--names", "B")])
@pytest.mark.parametrize("again", [(), ("--detections",)])
def test_lists_may_follow_one_option_or_several(names, again):
    given = ["--ground-truth", "truth", "--out", "out", *names, "--detections", "a", *again, "b"]
    found = options.parser().parse(given)
    assert (found.names, list(map(str, found.detections))) == (["A", "B"], ["a", "b"])


def test_the_help_fits_a_terminal_and_the_columns_are_in_the_docs(root):
    text = options.parser().format_help()
    assert max(map(len, text.splitlines())) <= 80
    assert all(words in text for words in ("--out report", "input:", "what counts:", "output:"))
    rules = (root / "docs" / "input-rules.md").read_text()
    columns = ("image_id", "xmin ymin xmax ymax", "x1 y1 x2 y2", "error_type", "coco_annotation_id")
    assert all(words in text + rules for words in columns)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/a/detections"], ["a"]),
        (["runs/a/detections", "runs/b/detections"], ["a", "b"]),
        (["runs/a/detections", "darknet"], ["a", "darknet"]),
        (["runs/a/best", "runs/b/best", "darknet"], ["a", "b", "darknet"]),
        (["runs/a/last/best", "runs/b/last/best"], ["a", "b"]),
        (["a/1/best", "a/2/best", "b/1/best"], ["best", "best", "best"]),  # no one level tells them apart
        (["a/best", "a/best"], ["best", "best"]),
        (["a/dog.txt", "b/dog.txt"], ["a", "b"]),
        (["a/dog.txt"], ["dog"]),
    ],
)
def test_detectors_are_named_by_what_tells_them_apart(tmp_path, paths, names):
    for path in (tmp_path / name for name in paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_text("")
    if len(set(names)) == len(names):
        assert options.name_detectors([tmp_path / path for path in paths], None) == names
    else:
        with pytest.raises(InputError, match="--names: found ''; expected a name that is not blank"):
            options.name_detectors([tmp_path / path for path in paths], ["", *names[1:]])
        with pytest.raises(InputError, match=f"--names: found '{names[0]}' twice"):
            options.name_detectors([tmp_path / path for path in paths], None)


def test_where_the_numbers_come_from(root, voc, monkeypatch):
    origin = run(voc, "--detections", voc / "shifted", *QUICK)["provenance"]
    assert origin["sources"] == [
        {"name": name, "path": str(voc / name), "detections": count}
        for name, count in (("plain", 3), ("shifted", 1))
    ]
    assert origin["options"]["detections"] == [str(voc / "plain"), str(voc / "shifted")]
    assert set(origin["machine"]) == {"system", "processor", "cores"}
    assert origin["commit"] == provenance.commit(root / "diagnosis")
    assert ("commit_reason" in origin) == (origin["commit"] is None)
    monkeypatch.setenv("PATH", "")  # without git
    unknown = provenance.provenance("diagnose", {"detections": []}, [])
    assert (unknown["commit"], unknown["commit_reason"]) == (None, "not run from a git checkout")


def git(folder, *words):
    told = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True)
    return told.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_checkout_the_package_is_part_of(tmp_path):
    assert provenance.commit(tmp_path) is None
    package = tmp_path / "package"
    package.mkdir()
    (package / "code.py").write_text("")
    git(tmp_path, "init", "-q")
    assert provenance.commit(package) is None, "below a checkout, as a package installed there"
    git(tmp_path, "add", "package")
    git(tmp_path, "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-q", "-m", "one")
    assert provenance.commit(package) == git(tmp_path, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("more", "top"),
    [
        (["--top", "2x"], {"n": 2, "correct": 0.5, "similar": 0.5}),
        (["--top", "all", "--similar", "none"], {"n": 2, "correct": 0.5, "other": 0.5}),
        (["--top", "5", "--similar", "voc"], {"n": 2, "correct": 0.5, "similar": 0.5}),
        (["--top", "2", "--similar", "{voc}/groups.yaml"], {"n": 2, "correct": 0.5, "other": 0.5}),
        (["--top", "1", "--iou", "1"], {"n": 1, "correct": 1.0}),
    ],
)
def test_similar_top_and_threshold(voc, more, top):
    (voc / "groups.yaml").write_text("- [dog, sofa]\n")
    result = run(voc, *(word.format(voc=voc) for word in more), *QUICK)
    found = result["detectors"][0]["classes"]["dog"]["top"]
    assert {name: value for name, value in found.items() if value} == top


def test_the_sheet_of_examples_needs_all_photographs(voc, capsys, monkeypatch):
    """And no sheet of an earlier run is left beside numbers that are not its own."""
    sheet, folder = voc / "out" / "examples.png", voc / "VOC2007" / "JPEGImages"
    monkeypatch.setattr("diagnosis.figures.illustrations", lambda *_, **__: [])  # the other figures

    def said(*more):
        run(voc, "--replicates", "0", "--figures", *more)
        return capsys.readouterr().out

    line = f"\nPhotographs: none at {folder}. --images DIR gives their folder.\n"
    assert line in said()
    assert not sheet.exists()
    photographs(voc / "photos")
    assert "Photographs" not in said("png", "pdf", "--images", voc / "photos")
    assert sheet.with_suffix(".pdf").stat().st_size > 0
    assert sheet.stat().st_size > 0
    (voc / "photos").rename(folder)
    assert "Photographs" not in said()
    assert sheet.stat().st_size > 0
    (folder / "two.jpg").unlink()
    assert f"\nPhotographs: 1 photograph missing, first {folder / 'two.jpg'}. " in said()
    assert not sheet.exists()


def test_lenient_drops_counts_and_says_so(voc, capsys):
    (voc / "plain" / "comp4_det_test_cat.txt").write_text("three 0.7 1 1 9 9\ntwo 0.7 11 11 50 50\n")
    assert "three" in refused(capsys, voc)
    run(voc, "--lenient", *QUICK)
    assert "warning: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--ground-truths", "x"],
            "--ground-truths: found no such option; {0}; did you mean --ground-truth?",
        ),
        (["--detection=x"], "--detection: found no such option; {0}; did you mean --detections?"),
        (["stray"], "stray: found a word that no option takes"),
        (["--iou", "much"], "--iou"),
        (["--iou", "0.05"], "--iou: found 0.05"),
        (["--top", "0"], "--top: found '0'"),
        (["--top", "some"], "--top: found 'some'"),
        (["--top", "infx"], "--top: found 'infx'"),
        (["--names", "A", "B"], "--names: found 2; expected 1"),
        (["--similar", "absent.yaml"], "absent.yaml: found no such file"),
        (["--images", "absent"], "--images: found no folder absent"),
        (["--images", "{voc}/photos"], "photos: found no image 'two'"),
        (["--ground-truth", "nowhere"], "error: nowhere: found no such file or folder"),
        (["--ground-truth", "nowhere:test"], "nowhere: found no such folder"),
        (["--detections", "nowhere"], "nowhere: found no such file"),
        (["--detections", "{voc}/plain"], "--names: found 'plain' twice"),
        (["--figures", "--no-figures"], "--figures: found --no-figures as well"),
        (["--processes", "0"], "--processes: found 0"),
        (["--group", "one"], "--group: found 'one' alone"),
        (["--group", "one", "plain", "--group", "one", "plain"], "--group: found 'one' twice"),
        (["--group", "one", "plain", "nobody"], "'nobody'"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(voc, capsys, more, message):
    photographs(voc / "photos")
    (voc / "photos" / "two.jpg").unlink()
    said = refused(capsys, voc, *(word.format(voc=voc) for word in more))
    assert message.format("expected one of those in --help") in said
    assert not (voc / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: --ground-truth, --detections, --out; see --help"),
        (["--outt", "x"], "--outt: found no such option; {0}; did you mean --out?"),
        (["--truth"], "--truth: found no such option; {0}; did you mean --ground-truth?"),
        (["--frobnicate"], "--frobnicate: found no such option; {0}"),
    ],
)
def test_an_unknown_option_is_named_before_those_that_are_missing(capsys, words, message):
    with pytest.raises(SystemExit) as leave:
        main(words)
    assert leave.value.code == 2
    assert capsys.readouterr().err == f"error: {message.format('expected one of those in --help')}\n"


def test_vocs_groups_need_vocs_classes(voc, capsys):
    (voc / "VOC2007" / "classes.yaml").write_text("classes: [round, square]\n")
    for image in ("one", "two"):
        (voc / "VOC2007" / "Annotations" / f"{image}.xml").write_text(XML.format(name="round"))
    (voc / "plain" / "comp4_det_test_dog.txt").unlink()
    (voc / "plain" / "comp4_det_test_cat.txt").rename(voc / "plain" / "square.txt")
    assert "--similar voc: found classes round, square" in refused(capsys, voc, "--similar", "voc")
    run(voc, *QUICK)


def test_a_place_that_cannot_be_written(voc, capsys):
    (voc / "out").write_text("a file")
    assert "out: found a file; expected a folder" in refused(capsys, voc)
    assert (voc / "out").read_text() == "a file"


class Screen(io.StringIO):
    """A stream that is a terminal, or is not."""

    def __init__(self, terminal):
        super().__init__()
        self.isatty = lambda: terminal


def wait_for(stream, text):
    deadline = time.monotonic() + 10
    while text not in stream.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    return stream.getvalue()


def test_what_takes_long_is_told_in_a_line_now_and_then(monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.3)
    stream = Screen(terminal=False)
    said = progress.Progress(stream)
    said("reading")
    assert stream.getvalue() == ""
    assert wait_for(stream, "reading") == "… reading\n"
    said("drawing", "1 of 9")
    said("drawing", "2 of 9")
    assert wait_for(stream, "drawing") == "… reading\n… drawing: 2 of 9\n"
    said("drawing", "3 of 9")  # too soon for another line
    time.sleep(0.3)
    said.end()
    assert stream.getvalue() == "… reading\n… drawing: 2 of 9\n"


def test_on_a_terminal_one_line_changes_and_goes(monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.1)
    stream = Screen(terminal=True)
    said = progress.Progress(stream)
    said("drawing", "1 of 9")
    wait_for(stream, "1 of 9")
    said("drawing", "2 of 9")
    assert wait_for(stream, "2 of 9").startswith(progress.ERASE_LINE)
    said.end()
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith(progress.ERASE_LINE)


def test_the_demo_diagnoses_the_detections_that_come_with_the_package(demo_folder, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    words = ["--demo", "--replicates", "0", "--out", str(demo_folder)]
    assert main([*words, "--no-figures"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"The numbers: {demo_folder / 'diagnosis.json'}")
    numbers = json.loads((demo_folder / "diagnosis.json").read_text())
    plain, shuffled = (one["breakdown"]["mean_over_classes"] for one in numbers["detectors"])
    assert plain["localization"] < 0.01  # the paper's finding: what is seen stays, where it is gets lost
    assert shuffled["localization"] > 0.3
    assert plain["similar"] == pytest.approx(shuffled["similar"], abs=0.03)
    assert numbers["provenance"]["command"].startswith("python -m diagnosis --demo --replicates 0")
    assert opened == []  # there is no page, and nobody at a terminal


@pytest.mark.parametrize(
    ("terminal", "display", "opens"), [(True, ":0", True), (True, "", False), (False, ":0", False)]
)
def test_the_demo_opens_its_page_only_for_somebody_with_a_screen(monkeypatch, terminal, display, opens):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "stdout", type("Stream", (io.StringIO,), {"isatty": lambda _: terminal})())
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)
    assert can_open() is opens


@pytest.mark.parametrize("option", ["--ground-truth", "--detections", "--images=x"])
def test_the_demo_takes_no_other_data(option, capsys):
    assert main(["--demo", option, "somewhere"]) == 2
    name = option.split("=")[0]
    assert capsys.readouterr().err == (
        f"error: --demo: found {name} as well; expected one of them: the demo has data of its own\n"
    )
