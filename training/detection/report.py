"""What a run leaves behind on the test set: detections, scores and diagnosis, in its folder."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.formats import write_detections
from data.formats.coco import write_coco_detections, write_coco_ground_truth
from data.formats.files import write_text
from data.records import GroundTruth
from diagnosis import Diagnosis, diagnose, sentences, table, to_json
from training.detection.evaluation import Evaluated

__all__ = ["write_comparison", "write_report"]

SCORES = ("voc07", "area", "coco", "coco50")
SHARES = ("correct", "localization", "similar", "other", "background")


def _spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation (n − 1) of several values; null where there is none."""
    if any(math.isnan(value) for value in values):
        return {
            "mean": None,
            "std": None,
            "values": [None if math.isnan(value) else value for value in values],
        }
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": deviation, "values": list(values)}


def summarize(diagnoses: Sequence[Diagnosis]) -> dict[str, Any]:
    """Scores and mean shares of several passes or seeds, each as mean and standard deviation."""
    means = [diagnosis.ap.mean() for diagnosis in diagnoses]
    shares = [diagnosis.breakdown.mean_over_classes() for diagnosis in diagnoses]
    return {
        "map": {name: _spread([float(mean[name]) for mean in means]) for name in SCORES},
        "shares": {name: _spread([float(share[i]) for share in shares]) for i, name in enumerate(SHARES)},
    }


def write_report(
    evaluated: Evaluated,
    truth: GroundTruth,
    similar: Sequence[Sequence[str]],
    out: Path,
    *,
    name: str,
    provenance: dict[str, Any],
    sheet: int,
) -> Diagnosis:
    """Write detections, ``scores.json`` and ``diagnosis/`` into a run's folder.

    The detections and the diagnosis are those of the first single pass; ``scores.json`` has every pass and
    the averaged prediction.

    Returns
    -------
    Diagnosis
        Of the first pass.
    """
    diagnoses = [diagnose(truth, found, name=name, similar=similar) for found in evaluated.passes]
    averaged = (
        diagnoses[0]
        if len(diagnoses) == 1
        else diagnose(truth, evaluated.averaged, name=name, similar=similar)
    )
    folder = out / "detections"
    folder.mkdir(parents=True, exist_ok=True)
    write_detections(evaluated.passes[0], folder)
    write_coco_detections(evaluated.passes[0], folder / "detections.json")
    write_coco_ground_truth(truth, folder / "ground_truth.json")
    scores = {
        "name": name,
        "test_images": len(truth.images),
        "passes": len(diagnoses),
        "single_passes": summarize(diagnoses),
        "averaged_prediction": summarize([averaged]),
    }
    write_text(out / "scores.json", json.dumps(scores, indent=1))
    write_comparison([diagnoses[0]], out / "diagnosis", provenance=provenance, sheet=sheet)
    return diagnoses[0]


def write_comparison(
    diagnoses: Sequence[Diagnosis], out: Path, *, provenance: dict[str, Any], sheet: int
) -> list[Path]:
    """Write ``diagnosis.json``, ``summary.txt``, the figures and the sheet of one or several detectors.

    Returns
    -------
    list of Path
        The figures.
    """
    from diagnosis.figures import save_figures, save_sheet

    out.mkdir(parents=True, exist_ok=True)
    files = save_figures(diagnoses, out)
    if sheet:
        files.append(save_sheet(diagnoses, out, count=sheet))
    write_text(out / "summary.txt", "\n".join([table(diagnoses), "", *sentences(diagnoses), ""]))
    # Last: whoever finds diagnosis.json finds the rest complete.
    write_text(out / "diagnosis.json", json.dumps(to_json(diagnoses, provenance), indent=1))
    return files
