"""recipes.command_line: YAML and flags become options of the right types, or a paragraph that says what is wrong."""

import sys
from dataclasses import dataclass, field

import pytest

from rnnzoo.data.errors import RecipeError
from rnnzoo.training.command_line import main, parse


@dataclass
class Options:
    """One field of every type that recipes have."""

    output_dir: str | None = None
    learning_rate: float = 0.1
    seed: int = 0
    patience: int | None = None
    resume: bool = False
    mixed_precision: str = "no"
    model: dict = field(default_factory=dict)


@pytest.fixture
def config(tmp_path):
    """A function that writes a YAML file and returns the flags that name it."""

    def write(text):
        path = tmp_path / "some.yaml"
        path.write_text(text, encoding="utf-8")
        return ["--config", str(path)]

    return write


def test_nothing_given_leaves_the_defaults():
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
        ("output_dir", "runs/elements", "runs/elements"),
        ("output_dir", "runs/2026-11-23", "runs/2026-11-23"),
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
        ("model: &a {x: 1}\ntokenizer: *a", r"some.yaml is not valid YAML: \*a stands for something else"),
        ("model: 3" + "0" * 2000, "model is 30{1,59} in"),
        ("seed: 2026-13-45", "some.yaml is not valid YAML|seed is '2026-13-45'"),
    ],
)
def test_what_a_file_says_wrong_is_named(config, text, says):
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
    ],
)
def test_what_a_flag_says_wrong_is_named(argv, says):
    refused(argv, says)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "weights.yaml").write_bytes(b"\xff\xfe\x00")
    refused(["--config", str(tmp_path / "weights.yaml")], "weights.yaml cannot be read")


def refused(argv, says):
    with pytest.raises(RecipeError, match=says) as caught:
        parse(Options, argv)
    assert "\n" not in str(caught.value)


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(Options, ["--seed", "1", "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "recipes.command_line" in shown  # the docstring of the options' module
    assert all(name in shown for name in ("--config", "--model.KEY", "--learning_rate", "(default: 0.1)"))


def test_main_prints_the_paragraph_and_hides_no_other_error(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["some.py", "--sead", "1"])
    with pytest.raises(SystemExit) as stopped:
        main(lambda argv: parse(Options, argv))
    # sys.exit with a text prints it, and the exit status is 1.
    assert stopped.value.code.startswith("error: 'sead' in the command line is not an option.")
    with pytest.raises(ZeroDivisionError):
        main(lambda argv: 1 / 0)
