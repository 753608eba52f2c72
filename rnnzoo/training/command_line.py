"""Options from a YAML file and from flags into a dataclass; flags win, unknown names are refused."""

import argparse
import dataclasses
import difflib
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import yaml

from rnnzoo.data.errors import RecipeError


T = TypeVar("T")


class Flag(NamedTuple):
    """A line of `--help`, under the heading `group`."""

    name: str
    default: Any
    help: str
    group: str


def parse(
    options: type[T],
    argv: list[str] | None = None,
    *,
    about: str = "",
    more: Iterable[Flag] = (),
    defaults: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> T:
    """Fill `options` from `--config FILE` and flags: `--seed 1`, for a mapping `--model.hidden_size 128`,
    for a list `--teachers runs/a runs/b`.

    Values are read as YAML, so numbers, true, null and quoted strings mean the same in a file and in a flag.

    Args:
        about: what `--help` begins with.
        more: flags that `--help` lists besides the fields of `options`, such as those of a mapping.
        defaults: from what the user gave, values that take the place of the fields' own; fields of a mapping are
            merged, unless the user names another model_type or a checkpoint.

    Raises:
        RecipeError: for a name that is no field (it names the nearest one), a value of the wrong type, a file that
            cannot be read.
    """
    argv = sys.argv[1:] if argv is None else argv
    if "-h" in argv or "--help" in argv:
        _help(options, about, more)
    kinds = get_type_hints(options)
    flags = _flags(
        argv,
        switches={name for name, kind in kinds.items() if kind is bool},
        lists={name for name, kind in kinds.items() if get_origin(kind) is list},
    )
    config = flags.pop("config", None)
    values: dict[str, Any] = {}
    nested = [flag.name for flag in more]
    for source, given in ((config, _read(config) if config else {}), ("the command line", flags)):
        for key, value in given.items():
            _put(options, values, key, value, source, nested)
    return options(**_with_defaults(values, defaults(values) if defaults else {}))


def _with_defaults(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    if values.get("model_name_or_path"):
        defaults = {name: value for name, value in defaults.items() if not isinstance(value, dict)}
    if "model_type" not in values.get("model", {}):
        # Single fields change the default model; another family is another model.
        values = values | {
            name: {**defaults[name], **values[name]}
            for name in ("model", "tokenizer")
            if name in values and name in defaults
        }
    return {**defaults, **values}


def _help(options: type, about: str, more: Iterable[Flag]) -> None:
    """Prints the help and exits."""
    usage = "[--config FILE] [--OPTION VALUE ...]"
    parser = argparse.ArgumentParser(
        usage=usage, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file with any of the options below")
    groups: dict[str, Any] = {}
    for name, default, text, group in (*_flags_of(options), *more):
        shown = "" if default in (None, {}, []) else f" (default: {default})"
        groups.setdefault(group, parser.add_argument_group(group) if group not in groups else None)
        groups[group].add_argument(f"--{name}", metavar="VALUE", help=(text + shown).replace("%", "%%"))
    parser.parse_args(["--help"])


def _flags_of(options: type) -> list[Flag]:
    found = []
    for field in dataclasses.fields(options):
        default = field.default_factory() if field.default is dataclasses.MISSING else field.default
        suffix = ".KEY" if isinstance(default, dict) else ""
        text, group = (field.metadata.get(name, "") for name in ("help", "group"))
        found.append(Flag(field.name + suffix, default, text, group or "Training"))
    return sorted(found, key=lambda flag: [known.group for known in found].index(flag.group))


def _flags(argv: list[str], switches: set[str], lists: set[str]) -> dict[str, Any]:
    """`--name value` and `--name=value`; a boolean option without a value is true, a list takes several values."""
    given, rest = {}, list(argv)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--"):
            raise RecipeError(f"{flag!r} is not an option: options are given as --name value. See --help.")
        name, equals, text = flag[2:].partition("=")
        if not equals and name in switches and (not rest or rest[0].startswith("--")):
            text = "true"
        elif not equals:
            if not rest:
                raise RecipeError(f"--{name} needs a value: --{name} VALUE. See --help.")
            text = rest.pop(0)
        if name in lists:
            values = [_yaml(text, f"--{name}")]
            while rest and not rest[0].startswith("--"):
                values.append(_yaml(rest.pop(0), f"--{name}"))
            given[name] = values[0] if len(values) == 1 else values  # one may be a list itself: [a, b]
            continue
        given[name] = text if name == "config" else _yaml(text, f"--{name}")
    return given


def _read(path: str) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"The configuration file {path} cannot be read ({error}). Check --config.") from None
    given = _yaml(text, path)
    if not isinstance(given, dict):
        raise RecipeError(f"{path} holds {type(given).__name__}, not a mapping: write one `name: value` a line.")
    return given


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain scalars: in PyYAML's 1.1, `no` is false, 1e-3 a string, 010 eight and 2026-11-23 a date."""

    yaml_implicit_resolvers: ClassVar[dict] = {}

    def compose_node(self, parent, index):
        """Refuses aliases (`*name`): ten lines of nested ones expand to more than any memory holds."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"the alias *{self.peek_event().anchor} is not supported: write its value out")
        return super().compose_node(parent, index)


for _kind, _form in {
    "null": r"null|~|",
    "bool": r"true|false",
    "int": r"[-+]?(?:0|[1-9][0-9]*)",
    "float": r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
}.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_form})$"), None)


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    # What PyYAML raises is not always its own: a KeyError for `!!bool x`, a RecursionError for a thousand brackets.
    except Exception as error:
        named = "" if isinstance(error, yaml.YAMLError | ValueError) else f"{type(error).__name__}: "
        raise RecipeError(f"{where} is not valid YAML: {named}{' '.join(str(error).split())}.") from None


def _put(options: type, values: dict[str, Any], key: str, value: Any, source: str, nested: list[str]) -> None:
    name, dot, inner = str(key).partition(".")
    fields = {field.name for field in dataclasses.fields(options)}
    if name not in fields:
        raise RecipeError(unknown(key, {*fields, *nested}, source, listed=fields))
    expected = get_type_hints(options)[name]
    if dot:
        value = {inner: value}
    if expected is dict:
        if not isinstance(value, dict):
            shown = f"{value!r:.60}"
            raise RecipeError(f"{name} is {shown} in {source}: it takes a mapping, `--{name}.KEY VALUE` as a flag.")
        values[name] = {**values.get(name, {}), **value}
        return
    if dot:
        raise RecipeError(f"--{key} in {source}: {name} takes one value, not a mapping.")
    values[name] = _checked(name, value, expected, source)


def _checked(name: str, value: Any, expected: Any, source: str) -> Any:
    if get_origin(expected) is list:
        (kind,) = get_args(expected)
        return [_checked(name, each, kind, source) for each in (value if isinstance(value, list) else [value])]
    kinds = get_args(expected) or (expected,)
    if float in kinds and type(value) is int:
        return float(str(value))  # infinity for what is too large, instead of an OverflowError
    if str in kinds and type(value) in (int, float):  # a folder called 7 is still a folder
        return str(value)
    # `type() is` and not isinstance: True is an int to Python, but no seed.
    if any(type(value) is kind for kind in kinds) or (value is None and type(None) in kinds):
        return value
    names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
    raise RecipeError(f"{name} is {value!r:.60} ({type(value).__name__}) in {source}: it takes {names}.")


def unknown(key: str, known: set[str], source: str, *, listed: set[str] | None = None) -> str:
    """The error for a name that is not among `known`; it suggests the nearest one, and shows those of `listed`."""
    nearest = _nearest(str(key), sorted(known))
    guess = f"Did you mean {nearest!r}? " if nearest else ""
    return f"{key!r:.60} in {source} is not an option. {guess}There are: {', '.join(sorted(listed or known))}."


def _nearest(key: str, known: list[str]) -> str | None:
    """The name that is meant: one with these initials (lr), one that ends so (epochs), or one spelled alike."""
    words = {name: name.rpartition(".")[2].split("_") for name in known}
    for fits in (
        lambda name: "".join(word[0] for word in words[name] if word) == key,
        lambda name: name.endswith((f"_{key}", f".{key}")),
    ):
        if found := [name for name in known if fits(name)]:
            return min(found, key=len)
    alike = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    return alike[0] if alike else None


def main(program: Callable[[], Any]) -> None:
    """Run a program of the command line: a `RecipeError` is printed as it is, without a traceback."""
    try:
        program()
    except RecipeError as error:
        sys.exit(f"error: {error}")
