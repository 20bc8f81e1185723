"""How detections may call their images: with or without folder and ending."""

import pytest

from data.formats import from_table
from data.records import GroundTruth, InputError

TABLE = {"class": ["dog"], "score": [0.9], "xmin": [0.0], "ymin": [0.0], "xmax": [9.0], "ymax": [9.0]}


def image_of(names, called):
    truth = GroundTruth(names, ["dog"], [[90, 90]] * len(names), [], [], [])
    return names[from_table({"image": [called], **TABLE}, truth).image_index[0]]


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("12", "12.jpg"),
        ("12", "photos/12"),
        ("12", "photos/more/12.jpg"),
        ("12", "photos\\12.jpg"),
        ("left/12", "left/12.jpg"),
        ("12.jpg", "photos/12.jpg"),
        ("a.b", "photos/a.b.jpg"),
    ],
)
def test_an_image_is_found_by_its_name_alone(name, called):
    assert image_of(["other", name], called) == name


def test_the_whole_path_comes_before_the_name_alone():
    assert image_of(["12", "left/12"], "left/12.jpg") == "left/12"
    assert image_of(["12", "12.jpg"], "left/12.jpg") == "12.jpg"


@pytest.mark.parametrize("called", ["left", "13.jpg", "2"])
def test_an_unknown_image_is_refused(called):
    with pytest.raises(InputError, match="image"):
        image_of(["left/12", "12"], called)
