"""The snippets of the documentation run as they are, one after another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def test_the_snippets_of_intervene_run_as_one_script(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (root / "docs" / "intervene.md").read_text(), re.DOTALL)
    assert len(snippets) == 7
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for snippet in snippets:
        exec(compile(snippet, "docs/intervene.md", "exec"), names)
    said = capsys.readouterr().out
    assert "shuffled in the test" in said
    assert "1  3x16x16    spatial     0.2500" in said  # stripes are gone without their order, and only there
    assert (tmp_path / "profile.png").stat().st_size > 1000
