"""Lays out the checkpoints of model_cards/ as their repositories on the Hub have them: with code and results.json.

python -m recipes.stage [FOLDER]     writes a folder each under FOLDER (default: build/model_cards)
"""

import json
import shutil
import sys
from pathlib import Path

from transformers.dynamic_module_utils import get_relative_import_files

from recipes import zoo
from recipes.report.committed import ROOT


def code(folder: Path) -> list[Path]:
    """The modules of rnnzoo that a checkpoint's auto_maps name, with the modules that these import."""
    found = set()
    for name in ("config.json", "tokenizer_config.json"):
        classes = json.loads((folder / name).read_text(encoding="utf-8")).get("auto_map", {}).values()
        for reference in classes:
            for place in [reference] if isinstance(reference, str) else filter(None, reference):
                module = ROOT / "rnnzoo" / f"{place.partition('.')[0]}.py"
                found |= {module, *map(Path, get_relative_import_files(module))}
    return sorted(found)


def stage(folder: Path, run: dict, into: Path) -> Path:
    """Writes one checkpoint into a new folder of its name, in place of an older one, and returns that."""
    staged = into / folder.name
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(folder, staged)
    for module in code(folder):
        shutil.copy(module, staged)
    (staged / "results.json").write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
    return staged


def main(into: str = "build/model_cards") -> None:
    """Stages all checkpoints."""
    for folder, run in zoo.checkpoints().items():
        print(f"staged: {stage(folder, run, Path(into))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
