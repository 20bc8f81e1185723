"""The trainer's log and callbacks, without a training."""

from types import SimpleNamespace

import pytest
import torch

from data.records import InputError
from training.callbacks import Checkpoints, LogProgress, Throughput, duration
from training.loggers import csv_log
from training.options import MachineOptions
from training.run_state import RunFolder
from training.tasks.detection_options import OptimizationOptions
from training.trainer import lost_peer, make_device


def write_log(folder, text):
    file = folder / "logs" / "csv" / "metrics.csv"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
def test_log_of_a_resumed_run_keeps_the_steps_that_are_not_repeated(tmp_path):
    file = write_log(
        tmp_path, "epoch,loss,step,val/map\n0,3.5,0,\n0,2.5,1,\n0,,1,0.25\n1,1.5,2,\n1,1.25,3,\n"
    )
    logger = csv_log(RunFolder(tmp_path), resume_step=2)
    logger.log_metrics({"loss": 1.75}, step=2)
    logger.save()
    lines = [line.split(",") for line in file.read_text().splitlines()]
    rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    assert [(row["step"], row["loss"], row["val/map"]) for row in rows] == [
        ("0", "3.5", ""), ("1", "2.5", ""), ("1", "", "0.25"), ("2", "1.75", ""),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
@pytest.mark.parametrize("torn", ["0,1.5,1", "0,1.", "0"])
def test_log_that_ends_within_a_row(tmp_path, torn):
    """As a hard kill may leave it: the 1 may be the beginning of a 12."""
    file = write_log(tmp_path, f"epoch,loss,step\n0,3.5,1\n{torn}")
    csv_log(RunFolder(tmp_path), resume_step=2)
    assert file.read_text().split() == ["epoch,loss,step", "0,3.5,1"]


GOOD = ["epoch,loss,step,val/map", "0,3.5,4,", "0,2.5,5,", "0,,5,0.25", "1,1.5,6,", "1,1.25,7,"]


@pytest.mark.parametrize(
    ("line", "text", "found"),
    [
        (1, "0,3.5e,4,", "a damaged log, in line 2"),
        (3, "0,,5,o.25", "a damaged log, in line 4"),
        (2, "0,2.5,5", "a damaged log, in line 3"),
        (4, "1,1.5,6,,7", "a damaged log, in line 5"),
        (2, None, "a log without step 5"),
        (4, None, "a log without step 6"),
        (5, None, "a log without step 7"),
        (3, "0,2.5,5,", "step 5 twice"),
        (4, "1,1.25,7,", "a log without step 6"),
        (slice(1, 6), "\n".join(GOOD[:0:-1]), "a log whose steps are not in order"),
    ],
)
def test_kind_log_of_a_resumed_run_that_is_damaged_anywhere(tmp_path, line, text, found):
    """A number that is none, a row that is gone, though one of the same step is there, and one twice."""
    lines = GOOD.copy()
    lines[line if isinstance(line, slice) else slice(line, line + 1)] = [] if text is None else [text]
    file = write_log(tmp_path, "\n".join(lines) + "\n")
    before = file.read_bytes()
    with pytest.raises(InputError, match=found):
        csv_log(RunFolder(tmp_path), resume_step=8)
    assert file.read_bytes() == before


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
@pytest.mark.parametrize("step", [6, 8])
def test_log_that_begins_later_is_sound(tmp_path, step):
    """Of a run that was resumed in another folder, or whose first log was moved away."""
    file = write_log(tmp_path, "\n".join(GOOD) + "\n")
    csv_log(RunFolder(tmp_path), resume_step=step)
    rows = file.read_text().split()[1:]
    assert rows == [row for row in GOOD[1:] if int(row.split(",")[2]) < step]


def test_log_of_a_new_run_is_not_made_before_it_is_needed(tmp_path):
    csv_log(RunFolder(tmp_path), resume_step=0)
    assert list(tmp_path.iterdir()) == []


def test_best_score_is_that_of_the_best_at_hand(tmp_path):
    folder = RunFolder(tmp_path)
    saved = Checkpoints(folder, "val/map", OptimizationOptions())
    saved.ranking = [(0.5, -1.0, 3)]
    folder.best.parent.mkdir()

    def resumed_at(step):
        trainer = SimpleNamespace(
            is_global_zero=True, global_step=step, strategy=SimpleNamespace(broadcast=lambda value: value)
        )
        resumed = Checkpoints(folder, "val/map", OptimizationOptions())
        resumed.load_state_dict(saved.state_dict())
        resumed.on_train_start(trainer, None)
        resumed.teardown(trainer, None, "fit")
        return resumed.ranking

    assert resumed_at(6) == []
    folder.last.write_text("last")
    assert resumed_at(3) == saved.ranking  # killed before the last checkpoint became the best
    assert folder.best.read_text() == "last"
    assert resumed_at(6) == saved.ranking


def test_speed_of_a_run_resumed_within_an_epoch(monkeypatch):
    """No epoch starts there: the first step must not be measured from the machine's own start."""
    now = iter([1000.0, 1002.0])
    monkeypatch.setattr("training.callbacks.time.perf_counter", lambda: next(now))
    trainer = SimpleNamespace(
        world_size=2, current_epoch=1, max_epochs=2, max_steps=-1, num_training_batches=10
    )
    logged = {}
    module = SimpleNamespace(note=logged.update)
    throughput = Throughput()
    throughput.on_train_start(trainer, module)
    throughput.on_train_batch_end(trainer, module, None, {"images": [0] * 4}, batch_idx=6)
    assert logged["images_per_second"] == 4.0
    assert throughput.seconds_left == 3 * 8 / 4.0


def test_line_of_an_epoch_has_no_score_of_an_earlier_one(capsys):
    progress = LogProgress()
    batches = SimpleNamespace(is_last_batch=True, current=SimpleNamespace(completed=3))
    trainer = SimpleNamespace(
        is_global_zero=True,
        lightning_module=SimpleNamespace(means={"loss": 1.5, "loss/centre": 0.5}),
        progress_bar_metrics={"val/map": 0.25},
        current_epoch=0,
        max_epochs=4,
        num_training_batches=3,
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=batches)),
    )
    progress.on_validation_end(trainer, None)
    progress.on_train_epoch_end(trainer, None)
    progress.on_train_epoch_end(trainer, None)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1/4: loss 1.5, loss/centre 0.5, val/map 0.25, left ")
    assert second.startswith("epoch 1/4: loss 1.5, loss/centre 0.5, left ")


@pytest.mark.parametrize(
    ("error", "expected"), [("Connection closed by peer [127.0.0.1]:1", True), ("no", False)]
)
def test_a_process_that_has_lost_peer(error, expected):
    assert lost_peer(RuntimeError(error)) is expected


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00:00"), (59.6, "0:01:00"), (90061, "25:01:01")])
def test_duration(seconds, shown):
    assert duration(seconds) == shown


def test_device():
    assert make_device(MachineOptions(accelerator="cpu")).type == "cpu"
    with pytest.raises(InputError, match="bf16-mixed"):
        make_device(MachineOptions(accelerator="cpu", precision="16-mixed"))


@pytest.mark.parametrize("accelerator", ["gpu", "mps"])
def test_kind_a_device_that_is_not_there_names_its_option(accelerator):
    if (torch.cuda if accelerator == "gpu" else torch.backends.mps).is_available():
        pytest.skip("this machine has one")
    with pytest.raises(InputError, match=r"^--accelerator: found what cannot be done here"):
        make_device(MachineOptions(accelerator=accelerator))
