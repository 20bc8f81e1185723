"""The command on a user's own COCO files: what other tools crash on or keep to themselves."""

import json

import pyarrow.parquet
import pytest

from diagnosis import write_results
from diagnosis.__main__ import main

NAMES = ("cat", "dog", "bus")
BOXES = [[10, 10, 20, 20], [40, 10, 30, 30], [10, 50, 40, 40], [60, 60, 30, 20]]


def coco(images=("7", "x-1"), classes=(-3, 1 << 40, 90), above=("pets", "pets", "cars"), **more):
    """Boxes alone, no segmentation, area or iscrowd; ids that are strings, negative, huge."""
    return {
        "images": [{"id": key, "file_name": f"{key}.jpg", "width": 100, "height": 100} for key in images],
        "categories": [
            {"id": key, "name": name, "supercategory": group}
            for key, name, group in zip(classes, NAMES, above, strict=True)
        ],
        "annotations": [
            {"id": 100 + n, "image_id": images[n % 2], "category_id": classes[n % 3], "bbox": box}
            for n, box in enumerate(BOXES)
        ],
    } | more


def found(images=("7", "x-1"), classes=(-3, 1 << 40, 90)):
    """The objects, the third one under a wrong name, and one detection of nothing."""
    rows = [
        {"image_id": images[n % 2], "category_id": classes[n % 3], "bbox": box, "score": 0.9 - n / 10}
        for n, box in enumerate(BOXES)
    ]
    rows[2]["category_id"] = classes[0]
    return [*rows, {"image_id": images[0], "category_id": classes[0], "bbox": [80, 5, 9, 9], "score": 0.1}]


def run(folder, detections, *more, truth=None, name="found.json"):
    """The command without figures and intervals, and what it wrote."""
    (folder / "truth.json").write_text(json.dumps(coco() if truth is None else truth))
    content = detections if isinstance(detections, str | bytes) else json.dumps(detections)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    given = ["--ground-truth", folder / "truth.json", "--detections", folder / name, "--out", folder / "out"]
    code = main([*map(str, given), "--no-figures", "--verbose", "--replicates", "0", *map(str, more)])
    written = folder / "out" / "diagnosis.json"
    return code, json.loads(written.read_text()) if written.exists() else None


# ---- asked for in vain elsewhere ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "classes"),
    [(("7", "x-1"), (-3, 1 << 40, 90)), ((-5, 10**12), ("a", "b", "c")), ((3, 900_000), (0, 7, 1000))],
)
def test_any_ids(tmp_path, images, classes):
    _, result = run(tmp_path, found(images, classes), truth=coco(images, classes))
    one = result["detectors"][0]
    assert one["breakdown"]["mean_over_classes"]["correct"] == 0.75
    assert one["classes"]["dog"]["top"]["correct"] == 1
    table = pyarrow.parquet.read_table(tmp_path / "out" / "detections.parquet").to_pydict()
    whole = all(isinstance(key, int) for key in images)
    shown = [images[n % 2] if whole else str(images[n % 2]) for n in range(4)]
    assert table["coco_image_id"] == [*shown, shown[0]]
    assert table["coco_annotation_id"] == [100, 101, 102, 103, None]


def test_no_annotation_ids_no_column(tmp_path):
    truth = coco()
    del truth["annotations"][1]["id"]
    run(tmp_path, found(), truth=truth)
    names = pyarrow.parquet.read_table(tmp_path / "out" / "detections.parquet").column_names
    assert "coco_image_id" in names
    assert "coco_annotation_id" not in names


def test_errors_of_each_class_and_the_confusion_behind_them(tmp_path):
    _, result = run(tmp_path, found(), "--top", "all")
    one = result["detectors"][0]
    assert one["classes"]["cat"]["top"] == {
        "n": 4, "correct": 0.5, "localization": 0, "similar": 0, "other": 0.25, "background": 0.25,
    }  # fmt: skip
    assert one["tide"]["classes"]["cat"]["counts"]["cls"] == 1
    assert one["confusion"]["counts"][2][0] == 1  # a bus taken for a cat
    table = pyarrow.parquet.read_table(tmp_path / "out" / "detections.parquet").to_pydict()
    assert table["confused_with"] == [None, None, "bus", None, None]


@pytest.mark.parametrize("annotated", [True, False])
def test_an_empty_results_file(tmp_path, annotated, capsys):
    truth = coco() if annotated else coco(annotations=[])
    code, result = run(tmp_path, [], truth=truth)
    assert code == 0
    assert result["detectors"][0]["breakdown"]["pooled"]["correct"] is None
    assert result["detectors"][0]["map"]["area"] == (0 if annotated else None)
    assert "nothing to break down" in capsys.readouterr().out


def test_detections_without_area(tmp_path):
    flat = [row | {"bbox": [*row["bbox"][:2], 0, 0]} for row in found()]
    code, result = run(tmp_path, flat + found())
    assert code == 0
    assert result["detectors"][0]["map"]["area"] > 0


def test_size_bins_of_ones_own(tmp_path, capsys):
    _, result = run(tmp_path, found(), "--area-bins", "0", "22", "30", "inf", "--bins", "aspect_ratio", "1.2")
    one = result["detectors"][0]
    assert one["bins"]["area"] == {
        "bins": ["≤ 22²", "22²–30²", "> 30²"], "unit": "square pixels", "by": "edges", "edges": [484, 900],
    }  # fmt: skip
    sizes = [entry["objects"] for entry in one["classes"]["cat"]["characteristics"]["area"]]
    assert sizes == [1, 1, 0]
    assert [entry["bin"] for entry in one["classes"]["cat"]["characteristics"]["aspect_ratio"]] == [
        "≤ 1.2", "> 1.2",
    ]  # fmt: skip
    for words, message in [
        (("--area-bins", "96", "32"), "--area-bins: found 96 32; expected rising numbers"),
        (("--area-bins", "small"), "--area-bins: found small; expected rising numbers"),
        (("--area-bins", "0", "inf"), "--area-bins: found 0 inf; expected rising numbers"),
        (("--area-bins", "-3", "9"), "--area-bins: found -3 9; expected numbers above 0"),
        (("--bins", "colour", "9"), "--bins: found 'colour'; expected a characteristic of the objects: area"),
        (("--bins", "height"), "--bins height: found no edges"),
        (("--bins", "height", "nan"), "--bins height: found nan"),
        (("--area-bins", "9", "--bins", "area", "81"), "--bins: found 'area' twice"),
    ]:
        capsys.readouterr()
        assert run(tmp_path, found(), *words)[0] == 2
        assert message in capsys.readouterr().err


def test_what_is_similar_is_said(tmp_path, capsys):
    _, result = run(tmp_path, found())
    line = "Similar classes, from the supercategories of truth.json: cat, dog."
    assert line in capsys.readouterr().out
    assert line in (tmp_path / "out" / "summary.txt").read_text()
    assert line in result["notes"]
    assert result["provenance"]["similar"]["groups"] == [["cat", "dog"]]
    assert result["detectors"][0]["similar"] == {"cat": ["dog"], "dog": ["cat"], "bus": []}

    _, result = run(tmp_path, found(), truth=coco(above=("things",) * 3))
    said = capsys.readouterr().out
    assert "the supercategory 'things' contains every class, so it was ignored" in said
    assert "all confusions are other. --similar FILE.yaml names groups." in said
    assert result["provenance"]["similar"]["groups"] == []


def test_what_makes_the_numbers_uncertain_is_said(tmp_path, capsys):
    _, result = run(tmp_path, found(), "--replicates", "5")
    said = capsys.readouterr().out
    assert "The intervals come from 2 images. With fewer than 50 they are rough" in said
    assert "they do not add up to what AP lacks to 100" in said
    few = "Few objects that count, so a few more or less would change much: bus (1), dog (1), cat (2)."
    assert few in said
    assert few in result["notes"]
    _, result = run(tmp_path, found())
    assert not any("intervals" in note for note in result["notes"])


# ---- what is wrong is said in one line ---------------------------------------------------------

GOOD = found()
LINE = "image,class,score,xmin,ymin,xmax,ymax\n"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*GOOD, GOOD[0] | {"image_id": "8"}], "found.json[5]: found the unknown image '8'"),
        ([*GOOD, GOOD[0] | {"category_id": 4}], "found.json[5]: found the unknown class 4"),
        ([GOOD[0] | {"score": float("nan")}, *GOOD], "found.json[0]: found the score nan"),
        ([GOOD[0] | {"score": float("inf")}, *GOOD], "found.json[0]: found the score inf"),
        ([*GOOD, GOOD[0] | {"bbox": [1, 2, float("nan"), 4]}], "found.json[5]: found the box"),
        ([*GOOD, GOOD[0] | {"bbox": [50, 50, -20, 10]}], "found.json[5]: found the inverted box"),
        ([*GOOD, GOOD[0] | {"bbox": [1, 2, 3]}], "found.json[5]: found not 4 values as bbox"),
        ([*GOOD, {"image_id": "7"}], "found.json[5]: found no category_id"),
    ],
)
def test_bad_rows_are_named_or_dropped_and_counted(tmp_path, capsys, rows, message):
    assert run(tmp_path, rows) == (2, None)
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert f"{tmp_path}/{message}" in said.err
    code, result = run(tmp_path, rows, "--lenient")
    assert code == 0
    assert "warning: " in (said := capsys.readouterr()).err
    assert "1 of 6 detections left out" in said.err
    assert result["detectors"][0]["classes"]["cat"]["detections"] == 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("found.json", {"annotations": []}, "found.json: found an object with the keys 'annotations'"),
        ("found.json", coco(), "is it the ground truth?"),
        ("found.json", '[{"image_id": ', "found.json:1:15: found malformed JSON"),
        ("found.json", b'[\n"\xff"]', "found.json:2: found a byte that is not UTF-8 (0xff)"),
        ("found.json", "", "found.json: found an empty file"),
        ("found.csv", "picture,class,score\n", "found.csv: box: found the columns picture, class, score"),
        ("found.csv", LINE.replace("score", "sure"), "found.csv: score: found the columns"),
        ("found.csv", LINE + "7,cat,0.5,1,2,3\n", "found.csv:2"),
        ("found.csv", LINE + "7,cat,high,1,2,3,4\n", "found.csv:2"),
        ("found.csv", LINE.encode() + b"7,c\xe4t,0.5,1,2,3,4\n", "found.csv:2: found a byte that is not"),
    ],
)
def test_bad_files_are_named(tmp_path, capsys, name, content, message):
    assert run(tmp_path, content, name=name) == (2, None)
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert message in said.err


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("images", "truth.json: images[2]: found the id '7' a second time (first in images[0])"),
        ("categories", "truth.json: categories[3]: found the id -3 a second time"),
    ],
)
def test_ids_that_come_twice(tmp_path, capsys, part, message):
    truth = coco()
    truth[part].append(truth[part][0])
    assert run(tmp_path, found(), truth=truth) == (2, None)
    assert message in capsys.readouterr().err


# ---- nothing half done looks finished ----------------------------------------------------------


@pytest.mark.parametrize("step", ["write_detections_table", "to_json", "write_text"])
def test_what_fails_on_the_way_leaves_nothing_that_looks_done(tmp_path, monkeypatch, step):
    def broken(*_, **__):
        raise RuntimeError("out of ink")

    with monkeypatch.context() as patch:
        patch.setattr(write_results, step, broken)
        with pytest.raises(RuntimeError, match="out of ink"):
            run(tmp_path, found())
    assert list((tmp_path / "out").iterdir()) == []
    run(tmp_path, found())
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(write_results, step, broken)
    with pytest.raises(RuntimeError, match="out of ink"):
        run(tmp_path, found()[:2])
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
