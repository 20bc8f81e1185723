"""Which jobs can begin, which never will, and what is known of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from training.launch.job import Job, Outcome, check_jobs

__all__ = ["JobQueue"]

WORDS = {
    "failed": "failed",
    "skipped": "was skipped",
    "stopped": "was stopped",
    "submitted": "is not done yet",
}


class JobQueue:
    """The jobs of one launch, and their outcomes as they come in.

    Parameters
    ----------
    jobs
        All of them.
    report
        Called with each outcome, also of the jobs that are skipped because of another one's.

    Raises
    ------
    InputError
        They cannot be carried out in any order (:func:`~training.launch.job.check_jobs`).

    Examples
    --------
    >>> from pathlib import Path
    >>> first = Job("first", ("true",), Path("first"))
    >>> second = Job("second", ("true",), Path("second"), after=("first",))
    >>> queue = JobQueue([first, second], lambda outcome: print(outcome.name, outcome.state))
    >>> [job.name for job in queue.ready()]
    ['first']
    >>> queue.begin(first)
    >>> queue.end(Outcome("first", "failed", 1.0, "error: …"))
    first failed
    second skipped
    """

    def __init__(self, jobs: Sequence[Job], report: Callable[[Outcome], None]) -> None:
        check_jobs(jobs)
        self.jobs = tuple(jobs)
        self._report = report
        self._waiting = {job.name: job for job in jobs}
        self._outcomes: dict[str, Outcome] = {}

    def ready(self) -> list[Job]:
        """Jobs that have not begun and wait for no other, in order."""
        return [job for job in self._waiting.values() if all(name in self._outcomes for name in job.after)]

    def begin(self, job: Job) -> None:
        """Take a job from those that wait."""
        del self._waiting[job.name]

    def end(self, outcome: Outcome) -> None:
        """Note an outcome and report it; the jobs after one that is not done are skipped."""
        self._waiting.pop(outcome.name, None)
        self._outcomes[outcome.name] = outcome
        self._report(outcome)
        if outcome.state == "done":
            return
        for job in [job for job in self._waiting.values() if outcome.name in job.after]:
            if job.name in self._waiting:  # it may have gone with another one by now
                self.end(Outcome(job.name, "skipped", 0.0, f"{outcome.name} {WORDS[outcome.state]}"))

    def stop(self) -> None:
        """Let no further job begin."""
        while self._waiting:
            _, job = self._waiting.popitem()
            self._outcomes[job.name] = outcome = Outcome(job.name, "stopped", 0.0, "not begun")
            self._report(outcome)

    def outcomes(self) -> list[Outcome]:
        """Of the jobs that have one, in the order of the jobs."""
        return [self._outcomes[job.name] for job in self.jobs if job.name in self._outcomes]
