"""The embedded data set: an ordinary VOC tree, the same for the same seed, with what its page promises."""

import colorsys
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data.formats.voc import read_classes, read_image_list, read_voc, read_voc_folder
from data.records import InputError
from data.shapes import SHAPE_SETS, shapes_classes, write_shapes
from data.shapes.outlines import OUTLINES, SUPERSAMPLING, turned
from data.shapes.scenes import APART, HUES, draw_scene

SIZE = (96, 80)
SOME = {"train": 6, "val": 3, "test": 4, "size": SIZE, "seed": 7}
FEW = {"train": 2, "val": 1, "test": 1, "size": SIZE}


def contents(tree):
    return {str(file.relative_to(tree)): file.read_bytes() for file in tree.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("devkit"), **SOME)


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(0, "train", i, (160, 160)) for i in range(400)]


def test_no_images_at_all(tmp_path):
    tree = write_shapes(tmp_path, train=0, val=0, test=0)
    assert (tree / "ImageSets/Main/train.txt").read_text() == ""
    assert list((tree / "JPEGImages").iterdir()) == []
    assert read_classes(tree) == shapes_classes()


def test_it_is_a_voc_tree(tree):
    root = tree.parent
    truth = read_voc(root, ["shapes:trainval", "shapes:test"])
    names, similar = shapes_classes()
    assert truth.classes == names
    assert {name for group in similar for name in group} < set(names), "and at least one is in no group"
    assert len(truth.images) == 13
    assert (truth.sizes == SIZE).all()
    assert len(truth) >= 13
    for file in truth.files:
        with Image.open(file) as image:
            assert (image.size, image.mode, image.format) == (SIZE, "RGB", "JPEG")
    assert read_image_list(tree, "trainval") == read_image_list(tree, "train") + read_image_list(tree, "val")
    assert read_voc_folder(tree, "val").images == read_voc(root, "shapes:val").images
    marker = json.loads((tree / "shapes.json").read_text())
    assert {"seed": 7, "size": list(SIZE), "train": 6}.items() <= marker.items()


def test_the_tree_holds_the_scenes(tree):
    truth = read_voc_folder(tree, "test")
    scene = draw_scene(7, "test", 2, SIZE)
    of_image = truth.image_index == 2
    assert truth.boxes[of_image].tolist() == [list(thing.box) for thing in scene.objects]
    assert [truth.classes[i] for i in truth.labels[of_image]] == [thing.label for thing in scene.objects]
    for column in ("truncated", "occluded", "pose"):
        expected = [getattr(thing, column) for thing in scene.objects]
        assert truth.attributes[column][of_image].tolist() == expected
    assert truth.difficult[of_image].tolist() == [thing.difficult for thing in scene.objects]
    with Image.open(truth.files[2]) as image:
        error = np.asarray(image).astype(int) - scene.image
    assert np.abs(error).mean() < 12, "JPEG's own error, and no more"


def test_more_images_leave_the_first_ones_alone(tree, tmp_path):
    more = write_shapes(tmp_path, **{**SOME, "train": 8, "test": 5})
    before, after = contents(tree), contents(more)
    for name, content in before.items():
        if name.startswith(("Annotations", "JPEGImages")):
            assert after[name] == content
    assert len(after) == len(before) + 2 * (2 + 1)


def test_scenes_of_large_objects(tmp_path, monkeypatch):
    """One or two objects; those that are not cut, hidden or tiny are large."""
    monkeypatch.setitem(
        SHAPE_SETS, "large-shapes", {**SHAPE_SETS["large-shapes"], "train": 60, "val": 1, "test": 1}
    )
    truth = read_voc_folder(write_shapes(tmp_path, **SHAPE_SETS["large-shapes"]), "train")
    counts = np.bincount(truth.image_index, minlength=60)
    assert set(counts) == {1, 2}
    assert truth.sizes.tolist() == [[64, 64]] * 60
    whole = ~(truth.difficult | (truth.attributes["truncated"] != 0) | (truth.attributes["occluded"] != 0))
    sides = (truth.boxes[:, 2:] - truth.boxes[:, :2]).max(axis=1)[whole]
    assert sides.min() > 0.3 * 64
    assert sides.max() < 0.7 * 64
    other = write_shapes(tmp_path, train=60, val=1, test=1, size=(64, 64))
    assert len(read_voc_folder(other, "train").labels) > len(truth.labels), "drawn anew in the other style"


def test_several_processes_draw_the_same(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("data.shapes.tree.FEW_SCENES", 0)
    assert contents(write_shapes(tmp_path, **SOME)) == contents(tree)


def test_another_seed_and_split_give_other_images():
    images = [draw_scene(seed, split, 0, SIZE).image for seed in (0, 1) for split in ("train", "test")]
    for one, other in itertools.combinations(images, 2):
        assert np.abs(one.astype(int) - other).mean() > 5


def test_a_complete_tree_is_kept_and_another_drawn_anew(tmp_path):
    """One of other parameters or with a file missing."""
    tree = write_shapes(tmp_path, **FEW)
    first = contents(tree)
    before = {file: file.stat().st_mtime_ns for file in tree.rglob("*")}
    assert write_shapes(tmp_path, **FEW) == tree
    assert {file: file.stat().st_mtime_ns for file in tree.rglob("*")} == before
    (tree / "JPEGImages/val_000000.jpg").unlink()
    write_shapes(tmp_path, **FEW)
    assert contents(tree) == first
    write_shapes(tmp_path, **{**FEW, "train": 1, "seed": 1})
    assert contents(tree)["JPEGImages/train_000000.jpg"] != first["JPEGImages/train_000000.jpg"]
    assert read_image_list(tree, "train") == ["train_000000"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["VOCshapes"], "nothing is left lying about"


def test_an_interrupted_run_leaves_no_tree(tmp_path, monkeypatch):
    def fail(seed, split, index, size, style):
        if split == "test":
            raise KeyboardInterrupt
        return draw_scene(seed, split, index, size, style)

    monkeypatch.setattr("data.shapes.tree.draw_scene", fail)
    with pytest.raises(KeyboardInterrupt):
        write_shapes(tmp_path, **FEW)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_at_once(tmp_path, root):
    code = f"from data.shapes import write_shapes; write_shapes({str(tmp_path)!r}, 4, 2, 2, {SIZE})"
    runs = [subprocess.Popen([sys.executable, "-c", code], cwd=root) for _ in range(2)]
    assert [run.wait(timeout=60) for run in runs] == [0, 0]
    assert len(read_voc(tmp_path, "shapes:train").images) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["VOCshapes"]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "VOCshapes").mkdir()
    (tmp_path / "VOCshapes" / "thesis.txt").write_text("the only copy")
    with pytest.raises(InputError, match="VOCshapes: found something that was not drawn here"):
        write_shapes(tmp_path, **FEW)
    assert (tmp_path / "VOCshapes" / "thesis.txt").read_text() == "the only copy"


@pytest.mark.parametrize(
    ("arguments", "where"),
    [({"train": -1}, "train"), ({"seed": -3}, "seed"), ({"size": (160, 20)}, "size")],
)
def test_wrong_arguments(tmp_path, arguments, where):
    with pytest.raises(InputError, match=f"^{where}: "):
        write_shapes(tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_a_file(tmp_path):
    (tmp_path / "root").write_text("")
    with pytest.raises(InputError, match="expected a folder to write to"):
        write_shapes(tmp_path / "root", **FEW)


def test_what_the_scenes_hold(scenes):
    objects = [thing for scene in scenes for thing in scene.objects]
    assert {len(scene.objects) for scene in scenes} == {1, 2, 3, 4, 5}
    counts = {label: sum(thing.label == label for thing in objects) for label in OUTLINES}
    assert min(counts.values()) > 0.6 * len(objects) / len(OUTLINES), counts
    assert 0.1 < np.mean([thing.truncated for thing in objects]) < 0.3
    assert 0.05 < np.mean([thing.occluded for thing in objects]) < 0.2
    assert 0.03 < np.mean([thing.difficult for thing in objects]) < 0.15
    assert {thing.pose for thing in objects if thing.label == "arrow"} == {"Left", "Right"}
    plain = [thing for thing in objects if not (thing.difficult or thing.truncated or thing.occluded)]
    longer = np.array([max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in (thing.box for thing in plain)])
    assert longer.min() >= 0.2 * 160
    assert longer.max() <= 0.65 * 160


def test_boxes_lie_in_the_image_and_flags_agree(scenes):
    for scene in scenes:
        for thing in scene.objects:
            x1, y1, x2, y2 = thing.box
            assert 0 <= x1 < x2 <= 160
            assert 0 <= y1 < y2 <= 160
            if thing.truncated:
                assert x1 == 0 or y1 == 0 or x2 == 160 or y2 == 160 or thing.occluded
        if len(scene.objects) == 1:
            assert not scene.objects[0].occluded


def test_two_objects_seldom_share_a_cell(scenes):
    """On an 8×8 grid, where a cell holds one object, almost none is lost."""
    lost = total = 0
    for scene in scenes:
        cells = [
            (int((x1 + x2) / 2 / 20), int((y1 + y2) / 2 / 20))
            for x1, y1, x2, y2 in (thing.box for thing in scene.objects)
        ]
        lost += len(cells) - len(set(cells))
        total += len(cells)
    assert APART * 160 == 20
    assert lost / total < 0.02


def test_colour_leans_towards_the_class_and_does_not_give_it_away(scenes):
    """Each class has its own hue on average, but who goes by the hue alone is often wrong."""
    labels, hues = [], []
    for scene in scenes:
        for thing in scene.objects:
            # The middle of a ring is not the ring.
            if thing.label != "ring" and not (thing.difficult or thing.occluded or thing.truncated):
                x, y = int(thing.box[0] + thing.box[2]) // 2, int(thing.box[1] + thing.box[3]) // 2
                middle = scene.image[y - 2 : y + 3, x - 2 : x + 3].mean(axis=(0, 1)) / 255
                labels.append(thing.label)
                hues.append(360 * colorsys.rgb_to_hsv(*middle)[0])
    away = np.abs((np.array(hues)[:, None] - list(HUES.values()) + 180) % 360 - 180)  # (objects, classes)
    nearest = np.array(list(HUES))[away.argmin(axis=1)]
    right = float((nearest == labels).mean())
    assert 0.4 < right < 0.92, right
    for label, column in HUES.items():
        if label != "ring":
            turned_by = (np.array(hues)[np.array(labels) == label] - column + 180) % 360 - 180
            assert abs(np.median(turned_by)) < 15, label


@pytest.mark.parametrize("label", sorted(OUTLINES))
def test_the_raster_is_the_outline(label):
    """Area by the shoelace formula and by covered pixels."""

    def measured(corners):
        """Area and circumference."""
        if corners is None:
            return 0.0, 0.0
        x, y = corners.T
        area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
        return area, np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1).sum()

    random = np.random.default_rng(3)
    for extent in (11.0, 40.0, 90.5):
        outline = turned(random, label)[0].fitted(extent, np.array([70.3, 20.8]))
        (area, around), (hole, within) = measured(outline.corners), measured(outline.hole)
        # Pillow paints the samples that an edge touches as well: half a sample all around.
        error = 0.6 / SUPERSAMPLING * (around + within)
        assert outline.cover.sum() == pytest.approx(area - hole, abs=error)
        left, top, right, bottom = outline.box
        assert outline.cover.shape == (bottom - top, right - left)
        spread = outline.corners.max(axis=0) - outline.corners.min(axis=0)
        assert spread.max() == pytest.approx(extent)
        rim = outline.rim(2.0)
        assert 0 < rim.sum() <= outline.cover.sum()
