"""The pages of this repository, with tables where their comments ask for them."""

from pathlib import Path

from recipes.report.committed import RESULTS, ROOT, committed, committed_parts, configurations
from recipes.report.generation import generation
from recipes.report.language import language, language_models
from recipes.report.parts import beside_context, beside_plain
from recipes.report.parts import parts as table_of_parts
from recipes.report.runs import complete, read
from recipes.report.sections import headline, section, summary
from recipes.report.speed import crf_speed, softmax_speed, speed


BEGIN, END = "<!-- {}: written by make report -->\n", "<!-- end -->\n"


def filled(path: Path, parts: dict[str, str]) -> str:
    """The text of a page with each part in its place, between its comments.

    Raises:
        ValueError: the page has no place for a part.
    """
    text = path.read_text(encoding="utf-8")
    for name, part in parts.items():
        begin = BEGIN.format(name)
        before, found, rest = text.partition(begin)
        if not found or END not in rest:
            raise ValueError(
                f"{path.name} has no line {begin.strip()} with {END.strip()} after it: add both where the part "
                "belongs."
            )
        text = before + begin + part + END + rest.split(END, 1)[1]
    return text


def pages() -> dict[Path, str]:
    """The pages of this repository with what its results say."""
    found = committed()
    parts = {name: section(group, name, configurations(name, group)) for name, group in found.items()}
    compared, tested = committed_parts(), complete([run for group in found.values() for run in group])
    languages = language_models(compared)
    parts["language"] = language(languages)
    compared = [run for run in compared if run not in languages]
    tables = table_of_parts(compared), beside_plain(compared, tested), beside_context(compared, tested)
    parts["parts"] = "\n".join(filter(None, tables)) or "No runs yet.\n"
    parts["speed"] = speed(read(RESULTS / "speed.json"))
    parts |= {name: crf_speed(read(RESULTS / f"{name}.json")) for name in ("crf", "crf-cuda")}
    for name, table in (("generation", generation), ("softmax", softmax_speed)):
        measured = RESULTS / f"{name}.json"
        parts[name] = table(read(measured)) if measured.exists() else "No runs yet.\n"
    first_page = {"headline": headline(found["imdb"]), "results": summary(found)}
    places = {ROOT / "recipes" / "RESULTS.md": parts, ROOT / "README.md": first_page}
    return {path: filled(path, parts) for path, parts in places.items()}
