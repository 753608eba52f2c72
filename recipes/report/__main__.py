"""python -m recipes.report             writes the tables in recipes/RESULTS.md and README.md, and the pictures
python -m recipes.report runs/*      writes runs/report/RESULTS.md from any runs' folders or results.json files
"""

import re
import sys
from pathlib import Path

from recipes.report.committed import RESULTS, ROOT, committed, committed_parts
from recipes.report.generation import draw_generation
from recipes.report.language import draw_language, language_models
from recipes.report.pages import pages
from recipes.report.pictures import draw
from recipes.report.runs import by_data, files, read
from recipes.report.sections import section


def prefixed(groups: list[list[dict]]) -> dict[str, list[dict]]:
    """Groups of runs by what the names of their pictures begin with."""
    found = {}
    for number, group in enumerate(groups):
        # A name from the Hub has a slash in it; and two data sets may have the same name.
        prefix = re.sub(r"[^\w-]+", "-", group[0]["dataset"]["name"])
        found[f"{prefix}-{number}" if prefix in found else prefix] = group
    return found


def write(groups: dict[str, list[dict]], folder: Path) -> None:
    """RESULTS.md with a section for each group, and the pictures beside it."""
    text = "\n".join(
        f"# {group[0]['dataset']['name']}\n\n{section(group, prefix)}" for prefix, group in groups.items()
    )
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for prefix, group in groups.items():
        draw(group, folder / "pictures", prefix)
    (folder / "RESULTS.md").write_text(text, encoding="utf-8")
    print(f"written to {folder / 'RESULTS.md'}")


def main(paths: list[str]) -> None:
    """Writes the report of `paths`; without any, what this repository shows."""
    try:
        if paths:
            write(
                prefixed(by_data([read(file) for file in files([Path(path) for path in paths])])), Path("runs/report")
            )
            return
        for path, text in pages().items():
            path.write_text(text, encoding="utf-8")
            print(f"written to {path.relative_to(ROOT)}")
        for dataset, group in committed().items():
            draw(group, ROOT / "recipes" / "pictures", dataset)
        if (measured := RESULTS / "generation.json").exists():
            draw_generation(read(measured), ROOT / "recipes" / "pictures")
        if languages := language_models(committed_parts()):
            draw_language(languages, ROOT / "recipes" / "pictures")
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
