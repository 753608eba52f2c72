"""RELIABILITY.md: what tests have counted; each writes its own line when it has passed."""

from datetime import date
from pathlib import Path

import torch

from rnnzoo.training.provenance import device_name, git_commit


COMMIT = git_commit()  # now: a line written makes the tree differ from it
FILE = Path(__file__).parents[1] / "RELIABILITY.md"
HEAD = """# Reliability

Counted by `make test-slow`, `make test-lowest` and `make test-gpu`: a test writes its line here when it has passed.

| what | figures | when, where, of which commit |
|---|---|---|
"""


def note(what: str, figures: str, device: str = "cpu") -> None:
    """Writes the line of a test, in place of its older one; `device` is where it ran."""
    lines = FILE.read_text(encoding="utf-8").splitlines()[6:] if FILE.exists() else []
    rows = dict(line.split(" | ", 1) for line in lines)
    where = f"{date.today()}, {device_name(torch.device(device))}, {COMMIT}"
    rows[f"| {what}"] = f"{figures} | {where} |"
    FILE.write_text(HEAD + "".join(f"{name} | {rest}\n" for name, rest in sorted(rows.items())), encoding="utf-8")
