"""The command line: YAML and flags become options of the right types, or an error that says what is wrong."""

import re
import sys
from dataclasses import dataclass, field, fields

import pytest

from recipes import imdb, ner
from rnnzoo.data.errors import RecipeError
from rnnzoo.training import build, run
from rnnzoo.training.command_line import main, parse


@dataclass
class Options:
    """A field of every type that the options of recipes have."""

    output_dir: str | None = None
    learning_rate: float = 0.1
    seed: int = 0
    patience: int | None = None
    resume: bool = False
    mixed_precision: str = "no"
    model: dict = field(default_factory=dict)
    teachers: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


@pytest.fixture
def config(tmp_path):
    """A function that writes a YAML file and returns the flags that name it."""

    def write(text):
        path = tmp_path / "some.yaml"
        path.write_text(text, encoding="utf-8")
        return ["--config", str(path)]

    return write


def test_without_flags_options_have_their_defaults():
    assert parse(Options, []) == Options()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("learning_rate", "1e-3", 0.001),
        ("learning_rate", "1.5E+2", 150.0),
        ("learning_rate", "-.5e1", -5.0),
        ("learning_rate", "2", 2.0),
        ("seed", "7", 7),
        ("patience", "null", None),
        ("patience", "3", 3),
        ("resume", "true", True),
        ("mixed_precision", "bf16", "bf16"),
        ("mixed_precision", "no", "no"),  # the default, which YAML 1.1 reads as False
        ("output_dir", "7", "7"),
        ("output_dir", "2026-11-23", "2026-11-23"),
        ("output_dir", '"1e3"', "1e3"),
        ("model", "{hidden_size: 3, dropout: 1e-1}", {"hidden_size": 3, "dropout": 0.1}),
    ],
)
def test_a_value_means_the_same_in_a_file_and_in_a_flag(config, name, text, value):
    parsed = [
        parse(Options, config(f"{name}: {text}")),
        parse(Options, [f"--{name}", text]),
        parse(Options, [f"--{name}={text}"]),
    ]
    for options in parsed:
        assert getattr(options, name) == value
        assert type(getattr(options, name)) is type(value)


def test_flags_win_over_the_file(config):
    flags = config("seed: 1\nlearning_rate: 0.5")
    assert parse(Options, [*flags, "--seed", "2"]) == parse(Options, ["--seed", "2", *flags])
    assert parse(Options, [*flags, "--seed", "2"]) == Options(seed=2, learning_rate=0.5)


def test_a_switch_alone_is_true():
    assert parse(Options, ["--resume"]) == parse(Options, ["--resume", "true"]) == Options(resume=True)
    assert parse(Options, ["--resume", "--seed", "2"]) == Options(resume=True, seed=2)
    assert parse(Options, ["--resume", "false", "--seed", "2"]) == Options(seed=2)


def test_a_list_is_several_values_of_a_flag_one_value_or_a_list_of_a_file(config):
    ab = Options(teachers=["runs/a", "runs/b"], seed=2)
    assert parse(Options, ["--teachers", "runs/a", "runs/b", "--seed", "2"]) == ab
    assert parse(Options, ["--seed", "2", "--teachers", "[runs/a, runs/b]"]) == ab
    assert parse(Options, config("teachers: [runs/a, runs/b]\nseed: 2")) == ab
    assert parse(Options, ["--teachers", "runs/a"]) == parse(Options, ["--teachers=runs/a"])
    assert parse(Options, config("teachers: runs/a")) == Options(teachers=["runs/a"])
    assert parse(Options, ["--weights", "1", "0.5"]).weights == [1.0, 0.5]


def test_mappings_merge_key_by_key(config):
    flags = config("model:\n  hidden_size: 64\n  window: 100")
    options = parse(Options, [*flags, "--model.hidden_size", "32", "--model.pooling=mean"])
    assert options.model == {"hidden_size": 32, "window": 100, "pooling": "mean"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sead: 1", "'sead' in .*some.yaml is not an option. Did you mean 'seed'"),
        ("learning-rate: 1", "Did you mean 'learning_rate'"),
        ("seed: one", "seed is 'one' .str. in .*some.yaml: it takes int"),
        ("seed: 1.5", "seed is 1.5 .float.*it takes int"),
        ("seed: true", "seed is True .bool.*it takes int"),
        ("seed: null", "seed is None"),
        ("patience: false", "patience is False .bool.*it takes int or null"),
        ("learning_rate: fast", "learning_rate is 'fast' .str.*it takes float"),
        ("learning_rate: true", "learning_rate is True .bool.*it takes float"),
        ("resume: 1", "resume is 1 .int.*it takes bool"),
        ("resume: 'yes'", "resume is 'yes' .str.*it takes bool"),
        ("output_dir: [a]", "output_dir is .'a'. .list.*it takes str or null"),
        ("model: 3", "model is 3 in .*some.yaml: it takes a mapping"),
        ("model:", "model is None"),
        ("seed.x: 3", "seed takes one value"),
        ("- seed", "holds list, not a mapping"),
        ("", "holds NoneType, not a mapping"),
        ("seed: [1", "some.yaml is not valid YAML"),
        ("seed: !!bool x", "some.yaml is not valid YAML: KeyError: 'x'"),
        ("[" * 5000, "some.yaml is not valid YAML: RecursionError"),
        ("model: &a {x: 1}\ntokenizer: *a", r"some.yaml is not valid YAML: the alias \*a is not supported"),
        ("model: 3" + "0" * 2000, "model is 30{1,59} in"),
        ("seed: 2026-13-45", "some.yaml is not valid YAML|seed is '2026-13-45'"),
    ],
)
def test_a_mistake_in_a_file_is_named(config, text, says):
    refused(config(text), says)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--sead", "1"], "'sead' in the command line is not an option. Did you mean 'seed'"),
        (["--seed", "one"], "seed is 'one' .str. in the command line: it takes int"),
        (["--seed", "true"], "seed is True"),
        (["--seed"], "--seed needs a value"),
        (["--resume", "maybe"], "resume is 'maybe' .str. in the command line: it takes bool"),
        (["seed", "1"], "'seed' is not an option: options are given as --name value"),
        (["--se", "1"], "'se' in the command line is not an option"),
        (["--model", "3"], "model is 3 in the command line"),
        (["--seed", "[1"], "--seed is not valid YAML"),
        (["--config", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["--config", "."], "cannot be read"),
        (["--teachers"], "--teachers needs a value"),
        (["--teachers", "[[a], b]"], "teachers is .'a'. .list. in the command line: it takes str"),
        (["--weights", "1", "heavy"], "weights is 'heavy' .str. in the command line: it takes float"),
    ],
)
def test_a_mistake_in_a_flag_is_named(argv, says):
    refused(argv, says)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "weights.yaml").write_bytes(b"\xff\xfe\x00")
    refused(["--config", str(tmp_path / "weights.yaml")], "weights.yaml cannot be read")


def refused(argv, says):
    with pytest.raises(RecipeError, match=says) as caught:
        parse(Options, argv)
    assert "\n" not in str(caught.value)


def helped(capsys, call):
    """What `--help` prints."""
    with pytest.raises(SystemExit) as stopped:
        call()
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_help_names_every_option(capsys):
    shown = helped(capsys, lambda: parse(Options, ["--seed", "1", "--help"], about="What it does."))
    assert "What it does." in shown
    assert all(name in shown for name in ("--config", "--model.KEY", "--learning_rate", "(default: 0.1)"))


@pytest.mark.parametrize("recipe", [imdb, ner], ids=["imdb", "ner"])
def test_help_of_a_recipe_explains_every_field_of_model_and_tokenizer(capsys, recipe):
    task = recipe.TASK
    shown = helped(capsys, lambda: run.parse(task, ["--help"]))
    assert recipe.__doc__.partition("\n")[0] in shown and f"recipes/configs/{task.name}/" in shown
    explained = dict(re.findall(r"^  --([\w.]+) VALUE\s+(\S.*)$", shown, re.MULTILINE))
    wanted = {f"model.{name}" for name in ("model_type", *build.model_fields(task))}
    wanted |= {f"tokenizer.{name}" for name in build.tokenizer_arguments(task)}
    assert {"model.hidden_size", "model.hidden_dropout", "tokenizer.vocab_size"} < wanted
    assert ("model.use_crf" in wanted, "model.window" in wanted) == ((True, False) if recipe is ner else (False, True))
    assert {name for name in explained if "." in name and not name.endswith(".KEY")} == wanted
    assert {name.removesuffix(".KEY") for name in explained} >= {option.name for option in fields(task.Options)}


def test_main_prints_the_error_and_hides_no_other_exception(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["some.py", "--sead", "1"])
    with pytest.raises(SystemExit) as stopped:
        main(lambda: parse(Options))
    # sys.exit with a text prints it, and the exit status is 1.
    assert stopped.value.code.startswith("error: 'sead' in the command line is not an option.")
    with pytest.raises(ZeroDivisionError):
        main(lambda: 1 / 0)
