"""What the page says of intervals: of one detector, of runs taken together, of few images."""

import numpy as np
import pytest
from PIL import Image

from data.records import Detections, GroundTruth
from diagnosis.compare import compare
from diagnosis.record import diagnose
from diagnosis.report import Gallery, PageFigure, ReportContent, render_report
from diagnosis.report.gallery import collect
from diagnosis.to_json import comparison_to_json, intervals_to_json, to_json
from tests.diagnosis.test_report import SVG, Page, detector, truth_of


def page_of(diagnoses, groups=None, **others) -> Page:
    comparison = compare(diagnoses, replicates=20, groups=groups)
    numbers = to_json(diagnoses, {}, comparison_to_json(comparison), intervals_to_json(comparison))
    return Page(render_report(ReportContent(diagnoses, numbers, gallery=None, **others)))


def section(page: Page) -> str:
    return page.find("section", id="comparison")[0][1]


def test_one_detector_has_intervals_and_no_differences():
    words = section(page_of([detector(truth_of(images=60))]))
    assert words.startswith("How sure the numbers are Intervals of the bootstrap")
    assert "Numbers with intervals" in words
    assert "Differences" not in words
    assert "VOC 2007, 11 points" in words


def test_two_detectors_are_compared():
    truth = truth_of(images=60)
    page = page_of([detector(truth, "a"), detector(truth, "b", seed=2)])
    assert section(page).startswith("Differences between the detectors Intervals of the paired bootstrap")
    assert "Runs taken together" not in section(page)
    assert "±" not in section(page)


def test_runs_taken_together_are_named_with_their_spread():
    truth = truth_of(images=60)
    runs = [detector(truth, f"run {n}", seed=n) for n in range(4)]
    page = page_of(runs, {"plain": ["run 0", "run 1"], "shuffled": ["run 2", "run 3"]})
    rows = [text for _, text in page.find("tr")]
    assert "plain 2 run 0, run 1" in rows
    assert "shuffled 2 run 2, run 3" in rows
    assert "±: standard deviation between the runs." in section(page)
    assert "] ± " in section(page)


@pytest.mark.parametrize(("images", "words"), [(6, "only 6 images"), (1, "only 1 image:"), (49, "only 49")])
def test_few_images_are_warned_of(images, words):
    found = section(page_of([detector(truth_of(images=images))]))
    assert words in found
    assert "the intervals are rough" in found


def test_classes_that_few_images_show_are_named():
    images, classes = 120, ("dog", "cat", "rare", "difficult", "absent")
    labels = np.array([0, 1] * 60 + [2] * 3 + [3] * 3)
    image = np.concatenate([np.arange(120), [0, 0, 1, 0, 1, 2]])
    boxes = np.tile([[0.0, 0, 50, 50]], (len(labels), 1))
    truth = GroundTruth([f"{n}" for n in range(images)], classes, [[99, 99]] * images, image, labels, boxes,
                        labels == 3)  # fmt: skip
    one = diagnose(truth, Detections(truth.images, classes, image, labels, labels + 1.0, boxes), coco=False)
    assert "1 class has objects in fewer than 50 images: rare (2)." in section(page_of([one]))
    figures = [PageFigure("Seen", "", SVG, "comparison")]
    unsampled = ReportContent([one], to_json([one], {}), figures=figures, gallery=None)
    assert "fewer than 50" not in section(Page(render_report(unsampled)))
    assert "fewer than" not in section(page_of([detector(truth_of(images=300))]))


def test_a_titled_figure_is_named_once_to_the_eye():
    one = [detector(truth_of(images=60))]
    figures = [PageFigure("Seen", "Below.", SVG, titled=False), PageFigure("Drawn", "Below.", SVG)]
    page = page_of(one, figures=figures)
    assert [has.get("class") for has, text in page.find("figcaption") if text in ("Seen", "Drawn")] == [
        None, "hidden-words",
    ]  # fmt: skip
    assert "Drawn. Below." in [has["alt"] for has, _ in page.find("img")]


def test_photographs_keep_within_their_megabytes(tmp_path):
    files = []
    for n in range(12):
        pixels = np.random.default_rng(n).integers(0, 255, (90, 120, 3), dtype=np.uint8)
        files.append(str(tmp_path / f"{n}.png"))
        Image.fromarray(pixels).save(files[-1])
    one = detector(truth_of(images=12, files=files), jitter=9.0, extra=20)
    whole = collect([one], Gallery()).shown
    size = sum(len(example.photograph) for example in whole)
    part = collect([one], Gallery(megabytes=size / 1e6), drawn=-(-size // 2)).shown
    assert 0 < sum(len(example.photograph) for example in part) <= size / 2
    assert set(part) < set(whole)
    groups = [(e.label, e.kind) for e in whole]
    place = {e: groups[:n].count(groups[n]) for n, e in enumerate(whole)}
    assert max(place[e] for e in part) <= min(place[e] for e in set(whole) - set(part))
    assert collect([one], Gallery(megabytes=size / 1e6)).shown == whole
    assert collect([one], Gallery(megabytes=0.0)).shown == ()
