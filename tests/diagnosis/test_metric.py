"""The torchmetrics metric gives the numbers of the diagnosis, batch by batch and process by process."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest

from data.records import Detections, GroundTruth, InputError
from diagnosis import diagnose

torch = pytest.importorskip("torch")
metric_module = pytest.importorskip("diagnosis.metric")
ErrorBreakdown = metric_module.ErrorBreakdown

CLASSES = ["bus", "cat", "dog"]
SIMILAR = [["cat", "dog"]]
NAMES = ("correct", "localization", "similar", "other", "background")


def scene(images=9, seed=0):
    random = np.random.default_rng(seed)
    objects, count = 4 * images, 12 * images
    corner = random.uniform(0, 60, (objects, 2))
    boxes = np.concatenate([corner, corner + random.uniform(15, 40, (objects, 2))], axis=1)
    index, labels = np.sort(random.integers(0, images, objects)), random.integers(0, 3, objects)
    difficult, crowd = random.random((2, objects)) < 0.1
    names = [f"{i}" for i in range(images)], CLASSES
    truth = GroundTruth(*names, [[100, 90]] * images, index, labels, boxes, difficult, crowd)
    near = np.sort(random.integers(0, objects, count))
    moved = boxes[near] + np.tile(random.normal(0, 7, (count, 2)), 2)
    wrong = np.where(random.random(count) < 0.3, random.integers(0, 3, count), labels[near])
    return truth, Detections(*names, index[near], wrong, random.random(count), moved)


def images_of(truth, found, *, sized=True, named=True):
    """The same as torchvision's lists of dicts."""
    preds, target = [], []
    for image in range(len(truth.images)):
        rows = found.image_index == image
        columns = {"boxes": found.boxes[rows], "scores": found.scores[rows], "labels": found.labels[rows]}
        preds.append({name: torch.tensor(value) for name, value in columns.items()})
        rows = truth.image_index == image
        columns = {"boxes": truth.boxes[rows], "labels": truth.labels[rows]}
        columns |= {"difficult": truth.difficult[rows], "iscrowd": truth.crowd[rows].astype(int)}
        columns |= {"size": truth.sizes[image, ::-1].copy()} if sized else {}
        columns |= {"image_id": image} if named else {}
        target.append({name: torch.as_tensor(value) for name, value in columns.items()})
    return preds, target


def expected(truth, found, ap="area", **options):
    diagnosis = diagnose(truth, found, similar=SIMILAR, **options)
    shares = dict(zip(NAMES, diagnosis.breakdown.mean_over_classes().tolist(), strict=True))
    return shares | {"map": diagnosis.ap.mean()[ap]}


def computed(metric):
    return {name: value.item() for name, value in metric.compute().items()}


@pytest.mark.parametrize("ap", ["area", "voc07", "coco"])
def test_it_is_the_diagnosis(ap):
    truth, found = scene()
    preds, target = images_of(truth, found)
    metric = ErrorBreakdown(CLASSES, SIMILAR, ap=ap)
    for start in (0, 4, 8):
        metric.update(preds[start : start + 4], target[start : start + 4])
    assert computed(metric) == pytest.approx(expected(truth, found, ap), abs=1e-6)


def test_options_pooled_per_class_and_reset():
    truth, found = scene(seed=2)
    metric = ErrorBreakdown(CLASSES, SIMILAR, pooled=True, per_class=True, top=2.0, iou=0.6)
    metric.update(*images_of(*scene(seed=3)))
    metric.reset()
    metric.update(*images_of(truth, found, named=False))
    diagnosis = diagnose(truth, found, similar=SIMILAR, top=2.0, iou=0.6)
    values = computed(metric)
    assert [values[name] for name in NAMES] == pytest.approx(diagnosis.breakdown.pooled().tolist(), abs=1e-6)
    for label, name in enumerate(CLASSES):
        assert values[f"localization/{name}"] == pytest.approx(diagnosis.breakdown.shares[label, 1], abs=1e-6)
        assert values[f"map/{name}"] == pytest.approx(diagnosis.ap.area[label], abs=1e-6)


def test_without_sizes_nothing_is_clipped():
    truth = GroundTruth(["a"], CLASSES, [[100, 90]], [0], [1], [[0, 0, 20, 20]])
    found = Detections(["a"], CLASSES, [0], [1], [0.5], [[-30, 0, 20, 20]])
    clipped, plain = ErrorBreakdown(CLASSES), ErrorBreakdown(CLASSES)
    clipped.update(*images_of(truth, found))
    plain.update(*images_of(truth, found, sized=False))
    assert (computed(clipped)["correct"], computed(plain)["localization"]) == (1, 1)


NOTHING = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}


@pytest.mark.parametrize("again", [lambda preds: preds[:2], lambda preds: [NOTHING]], ids=["same", "other"])
def test_an_image_that_comes_twice_counts_once_and_order_does_not_matter(again):
    truth, found = scene(seed=5)
    preds, target = images_of(truth, found)
    metric = ErrorBreakdown(CLASSES, SIMILAR)
    metric.update(preds[::-1], target[::-1])
    metric.update(again(preds), target[: len(again(preds))])
    assert computed(metric) == pytest.approx(expected(truth, found), abs=1e-6)


def test_empty():
    metric = ErrorBreakdown(3)
    metric.update([NOTHING], [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}])
    assert all(np.isnan(value) for value in computed(metric).values())
    metric.update([NOTHING], [{"boxes": torch.tensor([[0.0, 0, 9, 9]]), "labels": torch.tensor([2])}])
    values = computed(metric)
    assert values["map"] == 0
    assert np.isnan(values["correct"])
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert all(np.isnan(value) for value in computed(metric).values())


def test_nothing_goes_into_a_checkpoint():
    metric = ErrorBreakdown(CLASSES)
    metric.update(*images_of(*scene()))
    assert not metric.state_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda preds, target: preds.pop(), "8 images"),
        (lambda preds, target: preds[3].pop("scores"), r"preds\[3\].*'scores'"),
        (lambda preds, target: target[0].pop("boxes"), r"target\[0\].*'boxes'"),
        (lambda preds, target: preds[1].update(labels=torch.zeros(2)), r"preds\[1\]\['labels'\]"),
        (lambda preds, target: target[1].update(boxes=torch.zeros(4)), r"shape \(any, 4\)"),
        (lambda preds, target: target[1].update(size=torch.zeros(3)), "height and width"),
    ],
)
def test_mistakes(change, message):
    preds, target = images_of(*scene())
    change(preds, target)
    with pytest.raises(InputError, match=message):
        ErrorBreakdown(CLASSES).update(preds, target)


def test_unknown_options():
    with pytest.raises(InputError, match="one of voc07"):
        ErrorBreakdown(CLASSES, ap="best")
    with pytest.raises(InputError, match="'dog'"):
        ErrorBreakdown(CLASSES, [["dag"]])


def test_two_processes_give_what_one_gives(in_two_processes, tmp_path):
    def score(rank):
        results = []
        odd_and_even, all_and_none = [range(0, 9, 2), range(1, 9, 2)], [range(9), range(0)]
        for share in (odd_and_even, all_and_none, [[0, 1, 2, 3, 4], [5, 6, 7, 8, 0]]):
            preds, target = images_of(*scene())
            metric = ErrorBreakdown(CLASSES, SIMILAR)
            for image in share[rank]:
                metric.update([preds[image]], [target[image]])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns where a process has no images
                results.append(computed(metric))
            assert sum(map(len, metric.image_ids)) == len(share[rank])  # it goes on with its own images
        (tmp_path / f"{rank}.json").write_text(json.dumps(results))

    in_two_processes(score)
    one = expected(*scene())
    for rank in range(2):
        results = json.loads((tmp_path / f"{rank}.json").read_text())
        assert len(results) == 3
        for result in results:
            assert result == pytest.approx(one, abs=1e-6)


def test_torch_is_imported_here_alone(root):
    code = (
        "import importlib, pkgutil, sys, diagnosis\n"
        "for module in pkgutil.walk_packages(diagnosis.__path__, 'diagnosis.'):\n"
        "    if module.name != 'diagnosis.metric':\n"
        "        importlib.import_module(module.name)\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
