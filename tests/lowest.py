"""Prints the lowest versions that pyproject.toml declares, as constraints for pip."""

import re
import tomllib
from pathlib import Path


def lowest() -> list[str]:
    """Of every requirement with a lower bound."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    found = [re.match(r"([\w-]+)>=([\w.]+)", line) for group in groups for line in group]
    return sorted({f"{match[1]}=={match[2]}" for match in found if match})


if __name__ == "__main__":
    print("\n".join(lowest()))
