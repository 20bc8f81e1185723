"""What error types cost: equal to moving the detections and scoring each ranking anew."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.records import InputError
from diagnosis import assign, flag_error_types
from diagnosis.average_precision import assumed_objects
from diagnosis.impact import IMPACT_VARIANTS, impact
from tests.diagnosis.scenes import CLASSES, SIMILAR, TOOL_NAMES, crowded, forgiving, hoiem_ap

LOC, SIM, OTHER, BG = range(1, 5)
# Which detections are moved to the end, by type; rules, section 4.
MOVED = {
    "all": [],
    "ignoreloc": [LOC],
    "onlyloc": [SIM, OTHER, BG],
    "ignoresimilar": [SIM],
    "onlysimilar": [LOC, OTHER, BG],
    "ignorebg": [OTHER, BG],
    "onlybg": [LOC, SIM],
}
# Those that the tool does not have.
MOVED |= {
    "ignore_other": [OTHER],
    "only_other": [LOC, SIM, BG],
    "ignore_pure_background": [BG],
    "only_pure_background": [LOC, SIM, OTHER],
}
ROW = {variant.name: row for row, variant in enumerate(IMPACT_VARIANTS)}


@settings(max_examples=15)
@given(
    st.integers(0, 10**6),
    st.sampled_from([(0, 30), (3, 8), (30, 0), (40, 160)]),
    st.sampled_from([(0.5, 0.1), (0.75, 0.3)]),
)
@example(2, (40, 160), (0.75, 0.3))
def test_counting_equals_moving(seed, size, overlaps):
    matching = crowded(seed, *size)
    thresholds = dict(zip(("iou", "background_iou"), overlaps, strict=True))
    result = impact(matching, SIMILAR, **thresholds)
    kinds = flag_error_types(matching, SIMILAR, **thresholds)
    strong, weak = (assign(matching, iou) for iou in overlaps)
    assumed = assumed_objects(len(matching.truth.images))
    for row, variant in enumerate(IMPACT_VARIANTS):
        for label in range(len(CLASSES)):
            ranked = matching.ranked(label)
            name = TOOL_NAMES.get(variant.name, variant.name)
            if name in MOVED:
                end, labels = np.isin(kinds[ranked], MOVED[name]), strong.outcomes
            else:
                end, labels = weak.duplicates[ranked], forgiving(weak)
                if name == "ignorelocsim":
                    end = end | (kinds[ranked] == SIM)
            moved = np.concatenate([ranked[~end], ranked[end]])
            wanted = hoiem_ap(labels[moved], int(matching.objects[label]), assumed)
            found = [column[row, label] for column in result.scores]
            assert found == pytest.approx([*map(float, wanted)], abs=1e-12, nan_ok=True), name


def test_bars_average_gains_over_the_classes_with_objects():
    result = impact(crowded(1), SIMILAR)
    gains = result.gains()
    assert (gains[:, :4] >= 0).all()
    assert np.isnan(gains[:, 4]).all()  # no sofa
    assert result.bars()[ROW["fix_localization"]] == pytest.approx(gains[ROW["fix_localization"], :4].mean())
    row = ROW["only_background"]
    pair = result.bars(["dog", "sofa", "cat"], normalized=True)[row]
    assert pair == pytest.approx(result.gains(normalized=True)[row, [3, 2]].mean())
    assert np.isnan(result.bars(["sofa"])).all()
    assert np.isnan(result.bars([])).all()


def test_a_group_of_unknown_classes_is_refused():
    result = impact(crowded(1), SIMILAR)
    with pytest.raises(InputError, match="'dgo'; expected a class of the ground truth; did you mean 'dog'"):
        result.bars(["dgo"])
    with pytest.raises(InputError, match="'dog' twice"):
        result.bars(["dog", "cat", "dog"])
