"""Which columns of a table are read: those that the user names, or those whose names say what they hold."""

import difflib
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
            b"".decode(self.encoding or "utf-8")
        except LookupError as error:
            raise DataError(
                f"encoding is {self.encoding!r}, which is not known here: name one of Python's, such as utf-8, "
                "utf-16, cp1252 (Windows, Western Europe), cp1251 (Cyrillic), gb18030 or shift_jis."
            ) from error


class Role(NamedTuple):
    """What a column is for.

    name: what tasks and errors call it.
    option: the field of `Columns` that names its column.
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

# The alternatives that a task can read, the preferred one first.
Layouts = Sequence[tuple[Role, ...]]
# The columns of a table, by role, from the names of all of them; raises a `DataError` that says what is missing.
Find = Callable[[Sequence[str]], dict[Role, str]]


def find(names: Sequence[str], layouts: Layouts, chosen: Columns) -> dict[Role, str]:
    """The columns of the first layout that a table has, by role.

    A column that the user names must be there. Others are found by their names, in upper or lower case: by the first
    one that is common, else by any other, if there is only one of those.

    Raises:
        DataError: there is no layout whose columns are there, or a name stands for two columns.
    """
    options = {role.option for layout in layouts for role in layout}
    named = {option for option in ("text_column", "label_column", "tokens_column", "tags_column") if _of(chosen, option)}
    if strange := sorted(named - options):
        raise DataError(
            f"{strange[0]} is {_of(chosen, strange[0])!r}, but this task does not read such a column, only: "
            f"{', '.join(sorted(options))}. Leave it out."
        )
    open_to = [layout for layout in layouts if named <= {role.option for role in layout}]
    if not open_to:
        raise DataError(f"{' and '.join(sorted(named))} exclude each other here: leave one of them out.")
    faults = []
    for layout in open_to:
        try:
            found = {role: _column(role, names, chosen) for role in layout}
        except DataError as error:
            faults.append(error)
            continue
        if twice := next((name for name in found.values() if names.count(name) > 1), None):
            raise DataError(f"the column {twice!r} occurs twice ({shown(names)}). Rename one of them.")
        return found
    raise faults[0]


def _of(chosen: Columns, option: str) -> str | None:
    return getattr(chosen, option)


def _column(role: Role, names: Sequence[str], chosen: Columns) -> str:
    if (name := _of(chosen, role.option)) is not None:
        if name in names:
            return name
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        raise DataError(
            f"there is no column {name!r}, only: {shown(names)}. Correct --{role.option}"
            f"{f', perhaps to {near[0]!r}' if near else ''}."
        )
    for usual in (role.common[:1], role.common[1:]):
        found = [name for name in names if name.lower() in usual]
        if len(set(found)) > 1:
            raise DataError(
                f"several columns may be the {role.name} ({shown(found)}). Choose one with --{role.option}."
            )
        if found:
            return found[0]
    raise DataError(
        f"there is no column {role.common[0]!r}, only: {shown(names)}. Name the one that is read as {role.name} with "
        f"--{role.option}, or put the names of the columns into the first line if they are missing."
    )


def inferred(found: Mapping[Role, str], chosen: Columns) -> Iterator[tuple[Role, str]]:
    """The columns that were found by a name other than the first common one."""
    for role, name in found.items():
        if _of(chosen, role.option) is None and name != role.common[0]:
            yield role, name


def shown(names: Sequence[str]) -> str:
    """A few names, for a message."""
    return ", ".join(f"{name:.40}" for name in names[:8]) + (", ..." if len(names) > 8 else "")
