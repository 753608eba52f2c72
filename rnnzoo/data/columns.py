"""Which columns of a table are read: those that the user names, or those whose names say what they hold."""

import difflib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from rnnzoo.data.errors import DataError


@dataclass(frozen=True)
class Columns:
    """What the user says of a table, whatever its format.

    text_column, label_column, tokens_column, tags_column: names of columns; None: found by their common names. A
        tagger that is given `text_column` reads spans, from `tags_column`.
    drop_incomplete: leave out rows that lack one of these, instead of refusing the table.
    encoding: of text files; None: what their byte order mark says, else UTF-8.

    Raises:
        DataError: Python does not know the encoding.
    """

    text_column: str | None = None
    label_column: str | None = None
    tokens_column: str | None = None
    tags_column: str | None = None
    drop_incomplete: bool = False
    encoding: str | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Columns":
        """Those of the options of a recipe that say something of a table."""
        return cls(**{field.name: options[field.name] for field in fields(cls) if field.name in options})

    def __post_init__(self):
        try:
            io.TextIOWrapper(io.BytesIO(), self.encoding or "utf-8")
        except LookupError as error:
            raise DataError(
                f"encoding is {self.encoding!r}, which is not known here: name one of Python's, such as utf-8, "
                "utf-16, cp1252 (Windows, Western Europe), cp1251 (Cyrillic), gb18030 or shift_jis."
            ) from error

    def as_argument(self) -> dict[str, "Columns"]:
        """For `load` and `stream`; empty if nothing is said: a task of the user's own need not know of columns."""
        return {"columns": self} if self != Columns() else {}

    def refuse_for_synthetic_data(self) -> None:
        """Refuses all of them, with a `DataError`."""
        if self != Columns():
            raise DataError(
                "Synthetic data (--dataset made) has columns of its own, and no row of it is incomplete: leave out "
                "the options about columns, incomplete rows and the encoding."
            )


class Role(NamedTuple):
    """What a column is for.

    name: what tasks and errors call it.
    option: the field of `Columns` that names its column; "": the column may be missing.
    common: names that say it, in lower case; a column with the first one is taken before all others.
    reads: how a field of a CSV file is read, "text", "label" or "list".
    """

    name: str
    option: str
    common: tuple[str, ...]
    reads: str


TEXT = Role(
    "text",
    "text_column",
    ("text", "sentence", "review", "content", "document", "body", "comment", "message", "tweet", "utterance"),
    "text",
)
LABEL = Role(
    "label",
    "label_column",
    (
        *("label", "labels", "class", "category", "sentiment", "target", "intent", "emotion", "topic", "polarity"),
        *("rating", "stars"),
    ),
    "label",
)
TOKENS = Role("tokens", "tokens_column", ("tokens", "words"), "list")
TAGS = Role("ner_tags", "tags_column", ("ner_tags", "tags", "ner", "labels", "pos_tags", "pos", "upos"), "list")
# Where annotation tools write the spans of a text: as `entities`, as `spans` (Prodigy, spaCy), as `label` (doccano).
SPANS = Role("entities", "tags_column", ("entities", "spans", "label"), "list")
ANSWER = Role("answer", "", ("answer",), "text")  # what Prodigy's annotators decided
BESIDE = Role("beside", "", (), "text")  # the labelled text of a row of which another column is read as well

# The alternatives that a task can read, the preferred one first.
Layouts = Sequence[tuple[Role, ...]]
# From the names of all columns of a table those that are read, by role; raises `NoColumn`.
Find = Callable[[Sequence[str]], dict[Role, str]]

_OPTIONS = ("text_column", "label_column", "tokens_column", "tags_column")


class NoColumn(ValueError):
    """A table lacks a column that a task needs: the rest of a sentence that begins "In the train split (...), "."""


def check(chosen: Columns, layouts: Layouts) -> None:
    """Refuses columns that a task does not read, or not together.

    Raises:
        DataError: there is one.
    """
    options = [{role.option for role in layout if role.option} for layout in layouts]
    named = {option for option in _OPTIONS if getattr(chosen, option) is not None}
    if not any(named <= read for read in options):
        alternatives = " or ".join(dict.fromkeys(" and ".join(sorted(read)) for read in options))
        raise DataError(
            f"{' and '.join(sorted(named))} cannot be given here: this task reads {alternatives}. Leave the others "
            "out."
        )


def find(names: Sequence[str], layouts: Layouts, chosen: Columns) -> dict[Role, str]:
    """The columns of the first layout that a table has, by role.

    A column that the user names must be there. Others are found by their names, in upper or lower case: by the first
    one that is common, else by any other, if there is only one of those.

    Raises:
        NoColumn: there is no layout whose columns are there, or a name stands for two columns.
    """
    faults = []
    for layout in layouts:
        named = {option for option in _OPTIONS if getattr(chosen, option) is not None}
        if named <= {role.option for role in layout}:
            try:
                needed = [role for role in layout if role.option or role.common[0] in names]
                return {role: _column(role, names, chosen) for role in needed}
            except NoColumn as error:
                faults.append(error)
    raise faults[0]


def _column(role: Role, names: Sequence[str], chosen: Columns) -> str:
    name = getattr(chosen, role.option, None)
    if name is not None and name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f", perhaps to {near[0]!r}" if near else ""
        raise NoColumn(f"there is no column {name!r}, only: {shown(names)}. Correct --{role.option}{hint}.")
    candidates = [name] if name is not None else []
    for common in (role.common[:1], role.common[1:]):
        candidates = candidates or [name for name in names if name.lower() in common]
    if not candidates:
        raise NoColumn(
            f"there is no column {role.common[0]!r}, only: {shown(names) or 'none'}. Name the one that it is with "
            f"--{role.option}; a text file needs the names of its columns in its first line."
        )
    if len(set(candidates)) > 1:
        raise NoColumn(
            f"several columns may be the {role.name}: {shown(candidates)}. Choose one of them with --{role.option}."
        )
    if names.count(candidates[0]) > 1:
        raise NoColumn(f"the column {candidates[0]!r} occurs twice ({shown(names)}). Rename one of the two.")
    return candidates[0]


def inferred(found: Mapping[Role, str], chosen: Columns) -> Iterator[tuple[Role, str]]:
    """The columns that were found by a name other than the first common one."""
    for role, name in found.items():
        if getattr(chosen, role.option, None) is None and name != role.common[0]:
            yield role, name


def shown(names: Sequence[str]) -> str:
    """A few names, for a message, which has one line."""
    return ", ".join(" ".join(name.split())[:40] for name in names[:8]) + (", ..." if len(names) > 8 else "")
