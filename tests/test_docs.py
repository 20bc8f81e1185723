"""README and docs: Python runs as it is, commands are read by their own parsers, options and links exist."""

import json
import re
import shlex
import shutil
import tomllib
from functools import cache, partial
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import spatial_dependency
from data.formats import write_coco_detections, write_coco_ground_truth, write_detections
from diagnosis import compare
from diagnosis.demo import OUT, read_demo

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def fences(page, *languages):
    return [text for language, text in FENCE.findall(page.read_text("utf-8")) if language in languages]


@pytest.fixture(scope="module")
def folder(demo_folder, tmp_path_factory):
    """A folder with small files of the names that the pages use."""
    home = tmp_path_factory.mktemp("docs")
    (home / OUT).symlink_to(demo_folder)
    (home / "VOCdevkit").mkdir()
    (home / "VOCdevkit" / "VOC2007").symlink_to(demo_folder / "scenes" / "VOCshapes")
    truth, baseline, shuffled, _ = read_demo(demo_folder)
    (home / "val2017").symlink_to(demo_folder / "scenes" / "VOCshapes" / "JPEGImages")
    write_coco_ground_truth(truth, home / "instances_val.json")
    for name, coco, found in (("plain", "results", baseline), ("shuffled", "other", shuffled)):
        write_detections(found, home / "results" / name)
        write_coco_detections(found, home / f"{coco}.json")
    (home / "groups.yaml").write_text("similar: [[cross, star]]\n")
    tree, aside = demo_folder / "scenes" / "VOCshapes", home / "aside"
    aside.mkdir()
    for file in ("Annotations/test_000000.xml", "JPEGImages/test_000000.jpg", "classes.yaml"):
        shutil.copy(tree / file, aside)
    predictions = home / "runs" / "mine" / "predictions"
    predictions.mkdir(parents=True)
    one = {"image_id": "test_000000", "category_id": "disc", "score": 0.5, "bbox": [1, 2, 30, 30]}
    (predictions / "detections.json").write_text(json.dumps([one]))
    return home


PRELUDES = {
    # What a page's reader brings along.
    "docs/classify.md": """
import torch
from torch import nn
from detector import compare, profile
torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
loader = train_loader = [(torch.randn(8, 3, 8, 8), torch.arange(8) % 3)]
evaluate = lambda network: (network(loader[0][0]).argmax(1) == loader[0][1]).float().mean().item()
example = 8
second = profile(network, loader, methods=["spatial"])
""",
    "docs/tutorials/train-on-voc.md": """
from pathlib import Path
import detector
from detector.trained import TrainedDetector, build_detector
small = build_detector({"arch": "resnet18", "width": 0.125}, classes=2, input_size=64).eval()
detector.load = lambda run: TrainedDetector(small, ("cat", "dog"), 64, {}, Path(run), 3)
""",
}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_python_of_a_page_runs(page, folder, tmp_path, monkeypatch, capsys):
    snippets = fences(page, "python")
    name = str(page.relative_to(ROOT))
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    for file in ("a.jpg", "b.png"):
        shutil.copy(folder / "val2017" / "test_000000.jpg", tmp_path / file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(compare.__kwdefaults__, "replicates", 20)
    if "detector.load" in PRELUDES.get(name, ""):
        monkeypatch.setattr("detector.load", None)  # put back after the prelude that replaces it
    if name == "docs/classify.md":
        from detector import profile

        monkeypatch.setitem(profile.__kwdefaults__, "passes", 2)
    names = {}
    for snippet in [PRELUDES.get(name, ""), *snippets]:
        exec(compile(snippet, name, "exec"), names)
    if name == "docs/intervene.md":
        said = capsys.readouterr().out
        assert len(snippets) == 7
        assert "shuffled in the test" in said
        assert "1  3x16x16    spatial     0.2500" in said  # stripes are gone without their order, only there
        assert (tmp_path / "profile.png").stat().st_size > 1000


RUN_BY_EXIT_CODE = ("training.predict", "training.export", "training.profiling.__main__")
"""Their commands read the options and hand the rest to ``exit_code``."""


@cache
def training_parser(kind):
    from training.parser import make_parser
    from training.tasks.classification import CLASSIFICATION
    from training.tasks.detection import DETECTION

    task = {"train": DETECTION, "classify": CLASSIFICATION}[kind]
    return task, make_parser(task)


def check_training(kind, words):
    task, parser = training_parser(kind)
    values = parser.parse_args(words).as_dict()
    if values["evaluate"] is None:
        task.options.from_flat(values).resolved().check()


def check_experiment(words):
    from training.experiments import command, plan

    if words[0] == "profile":
        run_well("training.profiling.__main__", words[1:])
        return
    options = command.make_parser().parse_args(words)
    command.check_options(options)
    options.experiments = [file if file == Path("all") else ROOT / file for file in options.experiments]
    for experiment in command.find_experiments(options, plan.parse_roots(options.root))[0]:
        plan.parse_options(options.set, experiment.script)


def run_main(module, words):
    return import_module(module).main(words)


def run_well(module, words):
    assert run_main(module, words) == 0, words


def check_benchmark(words):
    text = (ROOT / words[0]).read_text("utf-8")
    for word in words[1:]:
        assert not word.startswith("--") or f'"{word}"' in text, word


def check_install(words):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for word in words[1:]:
        place, _, rest = word.partition("[")
        assert place in (".", extras["name"])
        assert {extra for extra in rest.rstrip("]").split(",") if extra} <= {*extras["optional-dependencies"]}


def check_make(words):
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert words[0] in phony[1].split()


def check_spatial(words):
    if words[0].startswith("-"):
        assert spatial_dependency.main(words) == 0
    else:
        alone = spatial_dependency.COMMANDS[words[0]].alone
        check(shlex.split(alone if alone.startswith("python ") else f"python {alone}") + words[1:])


CHECKS = {
    "python -m diagnosis": partial(run_well, "diagnosis.__main__"),
    "python -m data.download": partial(run_well, "data.download"),
    "python train_detect.py": partial(check_training, "train"),
    "python train_classify.py": partial(check_training, "classify"),
    "python reproduce.py": check_experiment,
    "python export.py": partial(run_main, "training.export"),
    "python predict.py": partial(run_main, "training.predict"),
    "python ": check_benchmark,
    "pip ": check_install,
    "make ": check_make,
    "spatial ": check_spatial,
}


def check(words):
    line = shlex.join(words) + " "
    known = next((start for start in CHECKS if line.startswith(start)), None)
    assert known is not None, f"no check for the command {line}"
    CHECKS[known](words[len(known.split()) :])


def commands(page):
    """The lines of its command blocks, without comments."""
    lines = "\n".join(fences(page, "bash")).replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_commands_of_a_page_are_understood(page, folder, tmp_path, monkeypatch):
    """Diagnoses are run but for what they write; of the others the options are read and checked."""
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("webbrowser.open", lambda page: None)
    monkeypatch.setattr("diagnosis.options.REPLICATES", 20)
    monkeypatch.setattr("diagnosis.write_results.write_results", lambda *_, **__: [])
    monkeypatch.setattr("data.download.install", lambda *_, **__: True)
    for module in RUN_BY_EXIT_CODE:
        monkeypatch.setattr(f"{module}.exit_code", lambda action: 0)
    for words in commands(page):
        check(words)
    assert "" not in {language for language, _ in FENCE.findall(page.read_text("utf-8"))}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_and_yaml_of_a_page_are_right(page):
    text = page.read_text("utf-8")
    for snippet in fences(page, "yaml"):
        assert isinstance(yaml.safe_load(snippet), dict)
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
        target, _, anchor = link.partition("#")
        if not re.match(r"\w+:", link):
            file = page.parent / target if target else page
            assert file.exists(), link
            if anchor:
                headings = re.findall(r"^#+ (.*)$", FENCE.sub("", file.read_text("utf-8")), re.MULTILINE)
                slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in slugs, link


@cache
def known_options():
    from training.experiments.command import make_parser

    parsers = [training_parser("train")[1], training_parser("classify")[1], make_parser()]
    texts = [*ROOT.glob("benchmarks/*.py"), ROOT / "tests" / "fuzz" / "run.py", ROOT / "data" / "download.py"]
    found = {option for parser in parsers for option in parser._option_string_actions}
    found |= set(re.findall(r"--[\w-]+", "".join(file.read_text("utf-8") for file in texts)))
    from diagnosis.options import parser

    return found | set(parser()._option_string_actions)


OPTIONS_OF_OTHERS = {"--version", "--logdir"}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_option_that_a_page_names_exists(page, capsys):
    for module in RUN_BY_EXIT_CODE:
        with pytest.raises(SystemExit):
            run_main(module, ["--help"])
    shown = set(re.findall(r"--[a-z][\w-]+", capsys.readouterr().out))
    text = FENCE.sub("", page.read_text("utf-8"))
    named = set(re.findall(r"--[a-z][\w-]+", " ".join(re.findall(r"`([^`]+)`", text))))
    assert named <= known_options() | shown | OPTIONS_OF_OTHERS
