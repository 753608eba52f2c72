"""RELIABILITY.md: what tests have counted; each writes its own line when it has passed."""

from datetime import date
from pathlib import Path

import torch

from recipes.training import device_name, git_commit


COMMIT = git_commit()  # now: a line written makes the tree differ from it
FILE = Path(__file__).with_name("RELIABILITY.md")
HEAD = """# Reliability

Counted by `make test-slow` and `make test-lowest`, which write a line here when its tests have passed.

| what | figures | when, where, of which commit |
|---|---|---|
"""


def note(what: str, figures: str) -> None:
    """Writes the line of a test, in place of its older one."""
    lines = FILE.read_text(encoding="utf-8").splitlines()[6:] if FILE.exists() else []
    rows = dict(line.split(" | ", 1) for line in lines)
    where = f"{date.today()}, {device_name(torch.device('cpu'))}, {COMMIT}"
    rows[f"| {what}"] = f"{figures} | {where} |"
    FILE.write_text(HEAD + "".join(f"{name} | {rest}\n" for name, rest in sorted(rows.items())), encoding="utf-8")
