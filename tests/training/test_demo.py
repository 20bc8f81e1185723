"""The last step of ``make demo``, on the detections that come with the package."""

import json

from diagnosis import compare, diagnose
from diagnosis.demo import read_demo
from training.demo import show


def test_the_demo_ends_with_a_page_of_its_comparison(demo_folder, tmp_path, monkeypatch, capsys):
    truth, plain, shuffled, similar = read_demo(demo_folder)
    monkeypatch.setitem(compare.__kwdefaults__, "replicates", 20)
    # Figures have tests of their own; here they would take seconds.
    monkeypatch.setattr("diagnosis.figures.save_figures", lambda found, out: [out / "tide.png"])
    monkeypatch.setattr("diagnosis.figures.save_sheet", lambda found, out, count: out / "examples.png")
    found = [diagnose(truth, one, name, similar) for name, one in (("plain", plain), ("shuffled", shuffled))]
    show(found, tmp_path, {"seed": 0})
    said, page = capsys.readouterr().out, tmp_path / "report.html"
    assert f"the page of all detectors: {page}\n" in said
    numbers = json.loads((tmp_path / "diagnosis.json").read_text())
    verdict = compare(found).verdict
    assert numbers["verdict"] == verdict
    assert verdict in said
    assert "plain → shuffled: AP (VOC07) " in said
    assert len(numbers["intervals"]) > 0
    html = page.read_text()
    assert all(f'"{name}"' in html for name in ("plain", "shuffled"))
    assert "data:image" in html  # photographs of the examples
