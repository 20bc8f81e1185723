"""The verdict on every detection, as columns: of one's own scene, against a slow oracle, and written."""

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from data.formats import VOC_SIMILAR, read_table
from data.records import Detections, GroundTruth, InputError
from diagnosis import diagnose
from diagnosis.breakdown import ERROR_TYPES, referenced_objects
from diagnosis.detections_table import detections_table, write_detections_table
from tests.diagnosis.scenes import real_records

CLASSES = ["cat", "dog", "bus"]
TRUTH = GroundTruth(
    ["a", "b"], CLASSES, [[100, 100], [50, 50]], [0, 0, 0, 1], [0, 1, 2, 1],
    [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [0, 0, 10, 10]], difficult=[0, 0, 0, 1],
)  # fmt: skip
FOUND = Detections(
    ["a", "b"], CLASSES, [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 1],
    [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3],
    [[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 4, 10], [20, 0, 30, 5], [40, 0, 50, 10], [60, 60, 70, 70],
     [0, 0, 10, 10]],
)  # fmt: skip


@pytest.fixture(scope="module")
def diagnosis():
    return diagnose(TRUTH, FOUND, "mine", [["cat", "dog"]], coco=False)


def test_each_kind(diagnosis):
    rows = detections_table([diagnosis]).to_pylist()
    assert [row["error_type"] for row in rows] == [
        "correct", "localization", "localization", "similar", "other", "background", "correct",
    ]  # fmt: skip
    assert [row["object"] for row in rows] == [0, 0, 0, 1, 2, None, 3]
    assert [row["overlap"] for row in rows] == pytest.approx([1, 0.8, 0.4, 0.5, 1, 0, 1])
    assert [row["duplicate"] for row in rows] == [False, True, False, False, False, False, False]
    assert [row["confused_with"] for row in rows] == [None, None, None, "dog", "bus", None, None]
    assert [row["object_class"] for row in rows] == ["cat", "cat", "cat", "dog", "bus", None, "dog"]
    assert [row["difficult"] for row in rows] == [False] * 5 + [None, True]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5, 6, 1]
    assert [row["counted"] for row in rows] == [True] + [False] * 5 + [True]  # one cat; one dog that counts
    assert rows[3] | {"overlap": 0} == {
        "detector": "mine", "image": "a", "class": "cat", "score": 0.6,
        "xmin": 20, "ymin": 0, "xmax": 30, "ymax": 5, "rank": 4, "counted": False, "error_type": "similar",
        "duplicate": False, "overlap": 0, "object": 1, "object_class": "dog", "confused_with": "dog",
        "difficult": False,
    }  # fmt: skip


def test_a_slight_overlap_of_a_background_error():
    found = Detections(["a", "b"], CLASSES, [0], [0], [1], [[48, 0, 68, 10]])
    (row,) = detections_table([diagnose(TRUTH, found, coco=False)]).to_pylist()
    assert (row["error_type"], row["object"], row["confused_with"]) == ("background", 2, None)
    assert row["overlap"] == pytest.approx(20 / 280)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_what_is_written(tmp_path, diagnosis, suffix):
    path = tmp_path / f"detections.{suffix}"
    path.write_text("old")
    other = diagnose(TRUTH, FOUND, "another", coco=False)
    write_detections_table([diagnosis, other], path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    read = {"parquet": pyarrow.parquet.read_table, "csv": pyarrow.csv.read_csv}[suffix]
    table = read(path)
    assert table["detector"].to_pylist() == ["mine"] * 7 + ["another"] * 7
    assert table["object"].to_pylist() == [0, 0, 0, 1, 2, None, 3] * 2
    assert table.column_names == detections_table([diagnosis]).column_names
    # And it is a table of detections that can be read again.
    write_detections_table([diagnosis], path)
    again = read_table(path, TRUTH)
    for column in ("image_index", "labels", "scores", "boxes"):
        np.testing.assert_array_equal(getattr(again, column), getattr(FOUND, column))


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("truth", [TRUTH, GroundTruth(["a", "b"], CLASSES, [[9, 9]] * 2, [], [], [])])
def test_no_detections_and_no_objects(tmp_path, suffix, truth):
    nothing = Detections(truth.images, truth.classes, [], [], [], [])
    path = tmp_path / f"detections.{suffix}"
    write_detections_table([diagnose(truth, nothing, coco=False)], path)
    assert len(read_table(path, truth)) == 0
    kinds = detections_table([diagnose(truth, FOUND, coco=False)])["error_type"].to_pylist()
    assert (set(kinds) == {"background"}) == (len(truth) == 0)


def test_no_images():
    truth = GroundTruth([], CLASSES, [], [], [], [])
    table = detections_table([diagnose(truth, Detections([], CLASSES, [], [], [], []), coco=False)])
    assert table.num_rows == 0


def test_nothing_half_written_is_left(tmp_path, diagnosis, monkeypatch):
    path = tmp_path / "detections.parquet"
    path.write_text("old")

    def broken(table, part, **_):
        part.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pyarrow.parquet, "write_table", broken)
    with pytest.raises(InputError, match=r"detections.parquet: found No space left on device"):
        write_detections_table([diagnosis], path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("detections.parquet", "old")]


def test_what_cannot_be_written(tmp_path, diagnosis):
    with pytest.raises(InputError, match=r"found the ending .txt; expected .parquet or .csv"):
        write_detections_table([diagnosis], tmp_path / "detections.txt")
    with pytest.raises(InputError, match="diagnoses: found none"):
        write_detections_table([], tmp_path / "detections.csv")
    with pytest.raises(InputError, match="No such file or directory"):
        write_detections_table([diagnosis], tmp_path / "absent" / "detections.csv")


def iou(a, b):
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    if width <= 0 or height <= 0:
        return 0.0
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (area - width * height)


def test_the_object_concerned_against_a_slow_search():
    rng = np.random.default_rng(3)

    def boxes(count):
        corner = rng.integers(0, 30, (count, 2))
        return np.concatenate([corner, corner + rng.integers(1, 30, (count, 2))], axis=1)

    names = [str(i) for i in range(5)]
    truth = GroundTruth(
        names, CLASSES, [[60, 60]] * 5, rng.integers(0, 5, 30), rng.integers(0, 3, 30), boxes(30)
    )
    found = Detections(
        names, CLASSES, rng.integers(0, 5, 200), rng.integers(0, 3, 200), rng.random(200), boxes(200)
    )
    diagnosis = diagnose(truth, found, similar=[["cat", "dog"]], coco=False)
    verdict = referenced_objects(diagnosis.matching, diagnosis.similar, 0.5)
    kinds = [ERROR_TYPES[kind].name for kind in verdict.types]
    assert set(kinds) == {kind.name for kind in ERROR_TYPES}
    for i, kind in enumerate(kinds):
        overlaps = np.array([
            iou(found.boxes[i], truth.boxes[j]) if truth.image_index[j] == found.image_index[i] else 0
            for j in range(len(truth))
        ])  # fmt: skip
        if kind == "correct":
            taken = verdict.object_rows[i]
            assert truth.labels[taken] == found.labels[i]
            assert verdict.overlaps[i] == pytest.approx(overlaps[taken])
            assert overlaps[taken] >= 0.5
            continue
        about = found.labels[i] if kind == "localization" else verdict.confused_with[i]
        overlaps[(truth.labels != about) & (about >= 0)] = 0
        assert verdict.overlaps[i] == pytest.approx(overlaps.max())
        assert verdict.object_rows[i] == (overlaps.argmax() if overlaps.max() > 0 else -1)
        assert verdict.duplicate[i] == (kind == "localization" and overlaps.max() >= 0.5)


def test_real_detections(shared_data, tmp_path):
    truth, found = real_records(shared_data)
    diagnosis = diagnose(truth, found, similar=VOC_SIMILAR, coco=False)
    write_detections_table([diagnosis], tmp_path / "detections.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "detections.parquet")
    counted = table.filter(table["counted"])["error_type"].value_counts().to_pylist()
    sums = dict(zip([kind.name for kind in ERROR_TYPES], diagnosis.breakdown.counts.sum(axis=0), strict=True))
    assert {entry["values"]: entry["counts"] for entry in counted} == sums
    # Every overlap lies where its kind says.
    kind, overlap = (np.array(table[name].to_pylist()) for name in ("error_type", "overlap"))
    assert overlap[kind == "correct"].min() >= 0.5
    assert overlap[kind == "background"].max() < 0.1
    assert overlap[np.isin(kind, ["localization", "similar", "other"])].min() >= 0.1
