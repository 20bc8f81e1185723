"""What a terminal and ``summary.txt`` show: tables, sentences, and what makes the numbers uncertain."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from data.formats.validation import BEYOND_BORDER, counted
from diagnosis.account import Account
from diagnosis.average_precision import AP_KINDS
from diagnosis.breakdown import CORRECT, CORRECT_IOU, ERROR_TYPES, LOCALIZATION, SIMILAR
from diagnosis.compare import Comparison, Difference, p_value, quantity_name
from diagnosis.rankings import mean_defined
from diagnosis.record import Diagnosis
from diagnosis.verdict import AGREE, ENOUGH_OBJECTS, enough_objects, have_enough, percent, span

FEW_IMAGES = 50
"""Fewer images than these say little about those not seen: intervals come out too narrow."""
FEW_REPLICATES = 100
"""Of fewer resamples at most two lie beyond either end of an interval of 95 %."""
COCO_HEADINGS = (
    "AP", "AP50", "AP75", "AP small", "medium", "large",
    "AR1", "AR10", "AR100", "AR small", "medium", "large",
)  # fmt: skip
"""Of the columns of :class:`diagnosis.coco_ap.CocoTable`."""
MAX_CLASSES_NAMED = 10
"""In a note."""
LINE_WIDTH = 80
"""Of what the command prints, in letters."""
NOTE_LINES = 3
"""Of a note, at most, in what the command prints."""
MAX_NAME_LETTERS = 14
"""Of a detector, in the table that the command prints."""
MOSTLY_LOST = 0.5
"""Share of the detections on classes without objects from which the classes may be mixed up."""

RISES, RISE = ("rises", "falls"), ("rise", "fall")
"""Verbs of a subject in the singular and in the plural."""
SUBJECTS = {
    "share/localization": (ERROR_TYPES[LOCALIZATION].subject, RISE),
    "share/correct_and_localization": ("correct + localization", RISES),
    **{f"share/{error_type.name}": (error_type.subject, RISE) for error_type in ERROR_TYPES},
    "map/voc07": (AP_KINDS["voc07"].name, RISES),
}
"""Quantities in which a sentence compares two detectors: the subject and its verbs."""
COST_SENTENCES = {
    "dap": "What fixing errors would add to AP (TIDE's dAP)",
    "impact": "What forgiving errors would add to Hoiem's AP",
}
"""Sections of quantities on the costs of error types, with the beginning of their sentence."""
TABLE_SECTIONS = {
    "share": "",
    "map": "",
    "dap": "TIDE: AP gained by fixing",
    "impact": "Hoiem: AP gained with",
}
"""Sections of the table of a comparison, with the line above each."""
NO_INTERVAL = (
    "No interval: nearly all resamples give the same number, so they cannot say how far it may be off."
)
TIDE_BASE = " before (TIDE's mean)"
WHY_NOT_100 = (
    "Each gain is what fixing one error alone would add, all others left as they are. The gains overlap, and "
    "none mends\nthe ranking, so they do not add up to what AP lacks to 100."
)

MEASURED = json.loads(resources.files(__package__).joinpath("interval_cover.json").read_text("utf-8"))
"""In how many per cent of simulated data sets the 95 % interval of each quantity held the truth, for each
number of images; `benchmarks/intervals.py --cover` writes it."""
NOMINAL_COVER = range(93, 98)
"""Per cent, rounded; an interval that covers less has a dagger."""
DAGGER = f"†: too narrow, as it held the truth in less than {NOMINAL_COVER.start} % of simulated data sets."


def cover(quantity: str, kind: str = "number") -> tuple[str, str]:
    """What the interval of a quantity covers, in per cent, and the dagger of one that covers too little.

    Parameters
    ----------
    quantity
        One of :attr:`diagnosis.compare.Comparison.quantities`.
    kind
        ``"number"``, or ``"difference"`` of two detectors.

    Examples
    --------
    >>> cover("share/correct"), cover("impact/ignore_other"), cover("nothing/measured")
    (('93 to 96', ''), ('91 to 92', '†'), ('', ''))
    """
    if quantity not in MEASURED["cover"]:
        return "", ""
    low, high = (round(end(MEASURED["cover"][quantity][kind])) for end in (min, max))
    return f"{low} to {high}" if low < high else f"{low}", "†" if low < NOMINAL_COVER.start else ""


def cover_sentence() -> str:
    """How often the intervals held the truth, and what the dagger means."""
    ranges = {}
    for kind in ("number", "difference"):
        values = [one for entry in MEASURED["cover"].values() for one in entry[kind]]
        ranges[kind] = f"{min(values):.0f} to {max(values):.0f} %"
    sets = " and ".join(
        f"{sets} data sets of {images} images"
        for images, sets in zip(MEASURED["images"], MEASURED["sets"], strict=True)
    )
    return (
        f"In a simulation ({sets}), 95 % intervals held the truth in {ranges['number']} of them, those "
        f"of differences in {ranges['difference']} (all: results/intervals.md in the repository). {DAGGER}"
    )


def summary(diagnoses: Sequence[Diagnosis], comparison: Comparison | None, notes: Sequence[str] = ()) -> str:
    """Everything: the tables, the sentences, and at the end the notes."""
    parts = [*_verdicts(diagnoses, comparison), "", table(diagnoses), ""]
    if comparison is None:
        parts += sentences(diagnoses)
    else:
        parts += [comparison_table(comparison), "", *map(_one_detector, diagnoses)]
        parts += comparison_sentences(comparison)
    return "\n".join([*parts, *(["", *notes] if notes else [])])


def _verdicts(diagnoses: Sequence[Diagnosis], comparison: Comparison | None) -> list[str]:
    return [one.verdict for one in diagnoses] if comparison is None else [comparison.verdict]


count = counted


def aligned(rows: Sequence[Sequence[str]], align: str = ">", rule: bool = True) -> str:
    """Columns as wide as needed, a `rule` below the headings; all but the first column aligned by `align`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            f"{cell:{align if place else '<'}{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if rule:
        lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


# ---- in brief ------------------------------------------------------------------------------------


def brief(
    diagnoses: Sequence[Diagnosis], comparison: Comparison | None, notes: Sequence[str] = (), where: str = ""
) -> str:
    """About 15 lines of at most 80 columns: the verdict, shares and AP, the worst classes, what to heed most.

    `where` says where the rest is, and comes first.
    """
    iou = diagnoses[0].iou
    unusual = f"Shares are at IoU {iou:g}. " if iou != CORRECT_IOU else ""
    rows = [["% (class mean)", *(error_type.label for error_type in ERROR_TYPES), "AP50", "AP50:95"]]
    for diagnosis in diagnoses:
        ap = diagnosis.ap.mean()
        numbers = [*diagnosis.breakdown.mean_over_classes(), ap["coco50"], ap["coco"]]
        rows.append([_shortened(diagnosis.name), *map(percent, numbers)])
        if not enough_objects(diagnosis.matching.objects)[0].any():  # the verdict is on these
            rows.append(["  pooled", *map(percent, diagnosis.breakdown.pooled()), "", ""])
    parts = [where] if where else []
    ties = large_ties(diagnoses)
    parts += [
        "\n".join(textwrap.fill(line, LINE_WIDTH) for line in [*_verdicts(diagnoses, comparison), *ties])
    ]
    notes = [note for note in notes if note not in ties]
    said = unusual + _groups(comparison) + _worst_classes(diagnoses)
    parts += [aligned(rows, rule=False), textwrap.fill(said, LINE_WIDTH)]
    if notes:
        more = f" {count(len(notes) - 1, 'more note')} in summary.txt." if len(notes) > 1 else ""
        # A number that may be wrong, before all that are rough, before one that may move.
        oddities = [line for line in _oddities(diagnoses) if line not in ties]
        first = [*_wrong(diagnoses), *_rough(comparison), *oddities, *notes][0]
        first = textwrap.shorten(first, NOTE_LINES * LINE_WIDTH - len(more), placeholder=" …")
        parts.append(textwrap.fill(first + more, LINE_WIDTH))
    return "\n\n".join(part for part in parts if part)


def _groups(comparison: Comparison | None) -> str:
    """Which rows of the table the groups of the verdict are the mean of, and what their intervals include."""
    groups = zip(comparison.names, comparison.members, strict=True) if comparison is not None else ()
    named = [(name, [_shortened(run) for run in runs]) for name, runs in groups if runs != (name,)]
    said = "".join(f"{name}: the mean of {_listed(runs, ' runs')}. " for name, runs in named)
    return said + "Intervals include seed-to-seed variation. " * any(len(runs) > 1 for _, runs in named)


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_NAME_LETTERS else f"{name[: MAX_NAME_LETTERS - 1]}…"


def worst_classes(*diagnoses: Diagnosis, number: int = 3) -> list[int]:
    """The classes of the lowest AP50 (mean of the detectors), of those with enough objects if any has."""
    objects = diagnoses[0].matching.objects
    chosen = np.flatnonzero(enough_objects(objects)[0] if (objects >= ENOUGH_OBJECTS).any() else objects > 0)
    ap = mean_defined(np.stack([_ap50(diagnosis) for diagnosis in diagnoses]), axis=0)
    worst: list[int] = chosen[np.argsort(ap[chosen], kind="stable")][:number].tolist()
    return worst


def _worst_classes(diagnoses: Sequence[Diagnosis]) -> str:
    first, ap50 = diagnoses[0], [_ap50(diagnosis) for diagnosis in diagnoses]
    worst = [
        f"{first.truth.classes[label]} ({', '.join(percent(ap[label]) for ap in ap50)})"
        for label in worst_classes(*diagnoses)
    ]
    how = [f"N ≥ {ENOUGH_OBJECTS}"] if enough_objects(first.matching.objects)[1] else []
    how += [f"mean of {'both' if len(ap50) == 2 else 'all'}"] if len(ap50) > 1 else []
    words = f" ({'; '.join(how)})" if how else ""
    return f"Lowest AP50{words}: {', '.join(worst)}." if worst else ""


def _ap50(diagnosis: Diagnosis) -> NDArray[np.float64]:
    return diagnosis.ap.coco50 if diagnosis.coco else diagnosis.tide.ap


# ---- tables ----------------------------------------------------------------------------------


def table(diagnoses: Sequence[Diagnosis]) -> str:
    """Shares and average precision in per cent, of each detector and of each of its classes."""
    headings = [
        "counted",
        *(error_type.label for error_type in ERROR_TYPES),
        *(kind.heading for kind in AP_KINDS.values()),
    ]
    rows = [["all classes", *headings]]
    for diagnosis in diagnoses:
        breakdown = diagnosis.breakdown
        mean = [*breakdown.mean_over_classes(), *diagnosis.ap.mean().values()]
        rows.append([diagnosis.name, f"{breakdown.counts.sum():,}", *map(percent, mean)])
        rows.append(["  pooled", "", *map(percent, breakdown.pooled()), *[""] * len(AP_KINDS)])
    parts = ["Per cent of the detections counted, and AP (class mean)", aligned(rows)]
    if all(diagnosis.coco for diagnosis in diagnoses):
        means = [[one.name, *map(percent, one.coco_scores.mean().values())] for one in diagnoses]
        parts += ["", "COCO's scores (class mean)", aligned([["all classes", *COCO_HEADINGS], *means])]
    for diagnosis in diagnoses:
        breakdown, ap = diagnosis.breakdown, diagnosis.ap
        rows = [["class", "objects", *headings]]
        for label, name in enumerate(breakdown.classes):
            counts = [f"{breakdown.objects[label]:,}", f"{breakdown.counts[label].sum():,}"]
            numbers = [*breakdown.shares[label], *(getattr(ap, kind)[label] for kind in AP_KINDS)]
            rows.append([name, *counts, *map(percent, numbers)])
        parts += ["", diagnosis.name, aligned(rows)]
    return "\n".join(parts)


def comparison_table(comparison: Comparison) -> str:
    """Mean shares, average precisions and costs of the error types of each detector, in per cent, with
    intervals; then how the others differ from the first, in points, with paired intervals and p-values.
    """
    names, others = comparison.names, range(1, len(comparison.names))
    rows = [["", *names, *(f"{names[b]} − {names[0]}" for b in others)]]
    for section, heading in TABLE_SECTIONS.items():
        quantities = _quantities(comparison, section)
        if heading and quantities:
            rows.append([heading] + [""] * (len(rows[0]) - 1))
        if section == "dap":
            quantities = [*_quantities(comparison, "tide"), *quantities]
        for quantity in quantities:
            name = "  " * bool(heading) + quantity_name(quantity) + TIDE_BASE * quantity.startswith("tide/")
            estimates = [comparison.estimate(quantity, detector) for detector in range(len(names))]
            cells = [
                f"{percent(one.value):>5} {_interval(one.low, one.high, quantity, 'number'):<12}"
                for one in estimates
            ]
            gaps = [comparison.difference(quantity, 0, b) for b in others]
            rows.append([name, *cells, *(_gap_cell(quantity, gap, comparison.replicates) for gap in gaps)])
    title = (
        f"Per cent (class mean) with {100 * comparison.level:g} % intervals: "
        f"{comparison.replicates:,} resamples of {comparison.images:,} images"
    )
    footnote = [WHY_NOT_100] if any(_quantities(comparison, section) for section in COST_SENTENCES) else []
    footnote.append(textwrap.fill(f"{NO_INTERVAL} {cover_sentence()}", 110))
    return "\n".join([title, aligned(rows, "<"), *footnote])


def _quantities(comparison: Comparison, section: str) -> list[str]:
    return [quantity for quantity in comparison.quantities if quantity.split("/")[0] == section]


def _interval(low: float, high: float, quantity: str, kind: str) -> str:
    return "" if math.isnan(low) else f"[{percent(low)}, {percent(high)}]{cover(quantity, kind)[1]}"


def _gap_cell(quantity: str, gap: Difference, replicates: int) -> str:
    number = f"{percent(gap.difference, sign=True):>5}"
    if math.isnan(gap.low):
        return number
    interval = _interval(gap.low, gap.high, quantity, "difference")
    return f"{number} {interval:<14} p {p_value(gap.p, replicates - gap.undefined)}"


# ---- sentences -------------------------------------------------------------------------------


def sentences(diagnoses: Sequence[Diagnosis]) -> list[str]:
    """What the numbers say: each detector, then how each further one differs from the first.

    Differences are those of the numbers measured; how far chance alone goes is another question.
    """
    return [
        *map(_one_detector, diagnoses),
        *(sentence for other in diagnoses[1:] for sentence in _two_detectors(diagnoses[0], other)),
    ]


def _one_detector(diagnosis: Diagnosis) -> str:
    shares = diagnosis.breakdown.mean_over_classes()
    if np.isnan(shares).any():
        detections = len(diagnosis.detections)
        why = f", {detections:,} of them on classes without objects or in crowds" if detections else ""
        return f"{diagnosis.name}: no detection counts{why}, so there is nothing to break down."
    counted = diagnosis.breakdown.counts.sum(axis=1)
    classes = count(int((counted > 0).sum()), "class", "classes")
    *clauses, last = (
        f"{percent(share)} % {error_type.clause}"
        for error_type, share in zip(ERROR_TYPES, shares, strict=True)
    )
    mean = diagnosis.ap.mean()["voc07"]
    score = "" if math.isnan(mean) else f"{AP_KINDS['voc07'].name}: {percent(mean)} %."
    return (
        f"{diagnosis.name}: of the {counted.sum():,} detections counted, averaged over {classes}, "
        f"{', '.join(clauses)}, and {last}. {score}"
    )


def _two_detectors(first: Diagnosis, other: Diagnosis) -> list[str]:
    # A class in which one of them detects nothing would count for the other alone.
    shares = [diagnosis.breakdown.shares for diagnosis in (first, other)]
    detected = ~np.isnan(shares).any(axis=2)  # (2, C)
    both = np.asarray(detected.all(axis=0))
    if not both.any():
        return []
    lines = []
    if (detected != both).any():
        names = [name for name, counted in zip(first.truth.classes, both, strict=True) if counted]
        lines.append(f"Compared below over the classes in which both detect something: {_listed(names)}.")
    before, after = (share[both].mean(axis=0) for share in shares)

    def change(before: float, after: float) -> str:
        # Of the numbers as printed, so that the reader's own subtraction agrees.
        points = round(round(100 * after, 1) - round(100 * before, 1), 1)
        words = f"{abs(points):.1f} points {'more' if points > 0 else 'less'}" if points else "the same"
        return f"{percent(before)} % with {first.name}, {percent(after)} % with {other.name}: {words}"

    start, end = before[LOCALIZATION], after[LOCALIZATION]
    times = f", {end / start:.2f} times the share" if start > 0 else ""
    lines += [
        f"Localization errors: {change(start, end)}{times}.",
        f"Correct and localization together: {change(before[CORRECT] + start, after[CORRECT] + end)}.",
    ]
    scores = [diagnosis.ap.mean()["voc07"] for diagnosis in (first, other)]
    if not math.isnan(scores[0]):  # of the same objects: both are defined, or neither
        lines.append(f"{AP_KINDS['voc07'].name}: {change(*scores)}.")
    return lines


def comparison_sentences(comparison: Comparison) -> list[str]:
    """How each further detector differs from the first, in points (hundredths) with intervals.

    A difference that is not clear (:func:`diagnosis.verdict.clear`) is "no clear difference": chance alone
    may have made it.
    """
    if len(comparison.names) < 2:
        return []
    first = comparison.names[0]
    lines = [
        f"Differences in points, with {100 * comparison.level:g} % intervals of {comparison.replicates:,} "
        f"resamples of the {comparison.images:,} images. {cover_sentence()}"
    ]
    if not have_enough(comparison.objects):
        lines[0] += (
            f" No class has {ENOUGH_OBJECTS} objects, so no difference of class means is called clear."
        )
    for b, name in enumerate(comparison.names[1:], 1):
        gaps = {quantity: comparison.difference(quantity, 0, b) for quantity in SUBJECTS}
        known = {of: gap for of, gap in gaps.items() if not math.isnan(gap.difference)}
        clauses = [_clause(of, gap, *SUBJECTS[of]) for of, gap in known.items()]
        if not clauses:
            lines.append(f"From {first} to {name}: nothing to compare, they share no class with detections.")
            continue
        shared = comparison.shared_classes("share/correct", 0, b)
        over = "" if shared.all() else f" (over {shared.sum()} classes in which both detect something)"
        lines.append(f"From {first} to {name}{over}: {'; '.join(clauses)}.")
        for section, what in COST_SENTENCES.items():
            quantities = _quantities(comparison, section)
            costs = _costs({of: comparison.difference(of, 0, b) for of in quantities})
            lines += [f"{what}, {name} − {first}: {costs}."] if costs else []
    return lines


def _costs(gaps: Mapping[str, Difference]) -> str:
    """The error types whose cost differs from the first detector's, the largest change first; the rest."""
    known = [of for of, gap in gaps.items() if not math.isnan(gap.difference)]
    changed = sorted((of for of in known if gaps[of].differs), key=lambda of: -abs(gaps[of].difference))
    clauses = []
    for of in [*changed, *(of for of in known if of not in changed)]:
        name, gap = quantity_name(of), gaps[of]
        interval = _interval(gap.low, gap.high, of, "difference") or f"({AGREE})"
        if gap.differs:
            clauses.append(f"{name} {percent(gap.difference, sign=True)} points {interval}")
        else:
            clauses.append(_clause(of, gap, name, RISES))
    return "; ".join(clauses)


def _clause(quantity: str, gap: Difference, subject: str, verbs: tuple[str, str]) -> str:
    rises, falls = verbs
    if not gap.differs:
        dagger = cover(quantity, "difference")[1]
        return f"no clear difference in {subject} {span(gap.low, gap.high)}{dagger}"
    low, high = sorted((abs(gap.low), abs(gap.high)))
    interval = _interval(low, high, quantity, "difference") or f"({AGREE})"
    verb = rises if gap.difference > 0 else falls
    return f"{subject} {verb} by {percent(abs(gap.difference))} points {interval}"


# ---- notes -----------------------------------------------------------------------------------


def notes(
    diagnoses: Sequence[Diagnosis], comparison: Comparison | None = None, warned: Sequence[str] = ()
) -> list[str]:
    """Sentences about what makes the numbers uncertain: few images, few objects, what is odd.

    `warned` is what readers of files have warned of, which is repeated here, and nothing of it said twice.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis import diagnose
    >>> truth = GroundTruth(["a"], ["dog"], [[90, 90]], [0], [0], [[0, 0, 9, 9]])
    >>> notes([diagnose(truth, Detections(["a"], ["dog"], [0], [0], [0.5], [[0, 0, 9, 9]]), coco=False)])
    ['Few objects that count, so a few more or less would change much: dog (1).']
    """
    lines = _rough(comparison)
    objects = dict(zip(diagnoses[0].truth.classes, diagnoses[0].matching.objects.tolist(), strict=True))
    few = sorted((number, name) for name, number in objects.items() if 0 < number < ENOUGH_OBJECTS)
    if few:
        listed = _listed_counts({name: number for number, name in few})
        lines.append(f"Few objects that count, so a few more or less would change much: {listed}.")
    absent = sorted(name for name, number in objects.items() if not number)
    if absent:
        lines.append(f"No object that counts, so no AP: {_listed(absent)}.")
    outside = diagnoses[0].account.objects_outside
    if outside and not any(BEYOND_BORDER in line for line in warned):
        reach = "1 object reaches" if outside == 1 else f"{outside:,} objects reach"
        lines.append(f"{reach} beyond the image: clipped at its border by Hoiem's rules, as detections are.")
    lines += _wrong(diagnoses) + _oddities(diagnoses)
    return lines + [f"Warning: {line}" for line in warned]


def _rough(comparison: Comparison | None) -> list[str]:
    """What makes all intervals rough."""
    if comparison is None:
        return []
    limits = (
        (comparison.images, "image", FEW_IMAGES, "they are rough, and rather too narrow than too wide"),
        (comparison.replicates, "resample", FEW_REPLICATES, "their ends are chance (--replicates)"),
    )
    return [
        f"The intervals come from {count(number, thing)}. With fewer than {least} {then}."
        for number, thing, least, then in limits
        if number < least
    ]


def _wrong(diagnoses: Sequence[Diagnosis]) -> list[str]:
    """What may make the numbers of a detector wrong: detections that are not there, or of other classes."""
    lines = []
    for one in diagnoses:
        classes, objects, without = one.truth.classes, one.matching.objects, one.account.without_objects
        if lost := sum(without.values()):
            lines.append(
                f"{one.name}: {count(lost, 'detection')} of {one.account.detections:,} on classes without "
                f"objects, which shares and AP leave out: {_listed_counts(without)}."
            )
            if lost >= MOSTLY_LOST * one.account.detections:
                lines[-1] += (
                    " These are so many that the classes may be mixed up, such as ids shifted by one."
                )
        detected = np.bincount(one.detections.labels, minlength=len(classes)) > 0
        absent = {classes[label]: int(objects[label]) for label in np.flatnonzero(~detected & (objects > 0))}
        if absent and not detected.any():
            lines.append(f"{one.name}: no detection at all.")
        elif absent:
            lines.append(f"{one.name}: no detection of classes that have objects: {_listed_counts(absent)}.")
    return lines


def _oddities(diagnoses: Sequence[Diagnosis]) -> list[str]:
    """What is odd about a detector's detections and moves its numbers little."""
    lines = []
    for one in diagnoses:
        account, scores = one.account, one.detections.scores
        said = []
        if account.in_crowds:
            crowded = count(account.in_crowds, "detection")
            said.append(f"{crowded} in crowd regions of their class: left out everywhere.")
        said += _ties(account)
        beyond = [
            f"{number:,} beyond {limit} {account.max_detections} of {of}"
            for number, of, limit in (
                (account.beyond_coco, "a class in an image", "COCO's"),
                (account.beyond_tide, "an image", "TIDE's"),
            )
            if number
        ]
        if beyond:
            said.append(f"detections left out: {', '.join(beyond)} (--max-detections).")
        if len(scores) and not 0 <= scores.min() <= scores.max() <= 1:
            reach = f"scores reach from {scores.min():.3g} to {scores.max():.3g}"
            said.append(f"{reach}. Beyond 0 and 1 they are no probabilities, so there is no calibration.")
        lines += [f"{one.name}: {line}" for line in said]
    return lines


def _ties(account: Account, least: float = 0.0) -> list[str]:
    """How far the order of equal scores can move AP and the share of correct detections, if so far at all."""
    ranges = {AP_KINDS["voc07"].name: account.map_range, "correct": account.correct_range}
    moves = [
        f"{what} from {100 * low:.1f} to {100 * high:.1f} %"
        for what, (low, high) in ranges.items()
        if f"{100 * low:.1f}" != f"{100 * high:.1f}"
    ]
    if not account.tied or not moves or max(high - low for low, high in ranges.values()) < least:
        return []
    return [
        f"{count(account.tied, 'detection')} of {account.detections:,} tie with another of their class; "
        f"their order can move {' and '.join(moves)}."
    ]


def large_ties(diagnoses: Sequence[Diagnosis]) -> list[str]:
    """What to read beside the verdict of detectors whose equal scores can move a number by a point."""
    return [f"{one.name}: {line}" for one in diagnoses for line in _ties(one.account, 0.01)]


def _listed_counts(numbers: Mapping[str, int]) -> str:
    return _listed([f"{name} ({number:,})" for name, number in numbers.items()], " classes")


def _listed(names: Sequence[str], things: str = "") -> str:
    left = len(names) - MAX_CLASSES_NAMED
    more = f" and {left} more{things}" if left > 0 else ""
    return ", ".join(names[:MAX_CLASSES_NAMED]) + more


# ---- the error types -----------------------------------------------------------------------------


def explanations(diagnosis: Diagnosis) -> tuple[str, ...]:
    """What each error type means, in the order of :data:`ERROR_TYPES`.

    The types speak of the usual smallest IoU of a correct detection: the one in use takes its place. An
    example of similar classes is added, or that there are none: dog and cat, whom everybody knows, or the
    first two, of those that have objects if any have.
    """
    classes, similar = diagnosis.truth.classes, diagnosis.similar
    present = np.bincount(diagnosis.truth.labels, minlength=len(classes)) > 0
    pairs = np.argwhere(similar & present & present[:, None])
    pairs = pairs if len(pairs) else np.argwhere(similar)
    names = [classes[label] for label in pairs[0]] if len(pairs) else []
    if {"dog", "cat"} <= set(classes) and similar[classes.index("dog"), classes.index("cat")]:
        names = ["dog", "cat"]
    words = [
        error_type.explanation.replace(f"{CORRECT_IOU:g}", f"{diagnosis.iou:g}") for error_type in ERROR_TYPES
    ]
    example = f", such as {names[0]} instead of {names[1]}." if names else "; no classes are similar here."
    words[SIMILAR] = words[SIMILAR].removesuffix(".") + example
    return tuple(words)
