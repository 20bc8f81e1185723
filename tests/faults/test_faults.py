"""A short selection of `make faults`: real kills, signals, disks and limits, a few of each."""

import pytest

from tests.faults.run import Lab, attempt

SHORT = (
    "kill",
    "signal",
    "full disk",
    "read-only folder",
    "occupied folder",
    "killed worker",
    "shared memory",
    "out of memory",
)
"""Each once; what is resumed is compared after a kill alone."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.run.draw_curves", lambda log, picture: None)
        yield Lab(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", SHORT)
def test_what_is_promised_holds(lab, name):
    lab.compare = name == "kill"
    try:
        seen, broken = attempt(name, lab, 0, trials=1)
    except PermissionError as error:
        pytest.skip(str(error))
    assert not broken, "\n".join(broken)
    assert seen.total() == 1
