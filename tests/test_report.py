"""The report is what the committed results.json files say; tables refuse to mix what cannot be compared."""

import json
from pathlib import Path

import pytest
from PIL import Image

from recipes import imdb, report
from recipes.command_line import parse


ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "recipes" / "configs" / "imdb"
RESULTS = sorted((ROOT / "recipes" / "results" / "imdb").glob("*.json"))


# ---- what is committed ----


def test_the_readme_shows_the_results_that_are_here():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tables = report.tables()
    assert report.readme(text, tables) == text
    for table in tables.values():
        assert table in text


def test_the_report_is_what_the_results_say():
    expected = report.section(report.committed(), report.configurations())
    assert (ROOT / "recipes" / "RESULTS.md").read_text(encoding="utf-8") == expected
    for run in report.committed():
        assert f"| {run['model'].removesuffix('-' + str(run['seed']))} |" in expected


@pytest.mark.parametrize("name", report.PICTURES)
def test_the_pictures_show_these_results(name):
    with Image.open(ROOT / "recipes" / "pictures" / f"imdb-{name}.png") as picture:
        assert picture.info["Description"] == report.digest(report.committed())


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_is_a_whole_run_on_the_whole_data_set(path):
    (result,) = report.read([path])
    assert path.stem == result["model"] and result["model"].endswith(f"-{result['seed']}")
    assert result["dataset"]["splits"] == {"train": 20_000, "validation": 5_000, "test": 25_000}
    assert len(result["git_commit"]) == 40, "the code that ran was not committed"
    assert not result["config"]["output_dir"].startswith("/")
    if result["seed"] == 0:  # one of them stands for all
        assert result["latency"]["milliseconds"] > 0 and len(result["latency"]["git_commit"]) == 40
    if result["model_type"] == "tfidf":
        return
    # What pipeline() answered. Where that was for every test row, it gives the same score.
    assert result["served"]["rows"] >= 200 and result["served"]["largest_difference"] <= imdb.TOLERANCE
    if result["served"]["rows"] == 25_000:
        for accuracy in result["served"]["accuracy"].values():
            assert accuracy == pytest.approx(result["metrics"]["test"]["accuracy"], abs=5e-5)


@pytest.mark.parametrize(
    "path", [path for path in RESULTS if not path.stem.startswith("tfidf")], ids=lambda path: path.stem
)
def test_a_result_was_made_by_the_configuration_of_its_name(path):
    (result,) = report.read([path])
    options = parse(imdb.ImdbOptions, ["--config", str(CONFIGS / f"{path.stem.rpartition('-')[0]}.yaml")])
    # What does not change the course of a training; a transformer's longest text is the model's to say.
    free = ("seed", "output_dir", "verify_rows", "checkpointing_steps", "resume", "max_length")
    for name, value in vars(options).items():
        if name not in free and name in result["config"]:
            assert (result["config"][name] or "no") == (value or "no"), name  # no mixed precision, said or not


# ---- how tables are made ----


def result(**changes):
    return {
        "model": "a-0",
        "model_type": "rnnzoo-lstm",
        "seed": 0,
        "dataset": {"name": "own", "source": "here", "splits": {"train": 3, "test": 10_000}},
        "metrics": {"test": {"accuracy": 0.5}},
        "history": [{"train_seconds": 1.0, "validation": {"accuracy": 0.4}}],
        "num_parameters": 1000,
        "train_seconds": 2.0,
        "device": "a machine",
        "mixed_precision": "no",
        "config": {"seed": 0, "output_dir": "runs/a-0", "batch_size": 8, "max_length": None, "model": {}},
    } | changes


def config(**changes):
    return result()["config"] | changes


LATENCY = {"milliseconds": 1.25, "texts_per_second": 2000.4, "device": "a CPU", "num_threads": 2}
SECOND = result(model="a-1", seed=1, metrics={"test": {"accuracy": 0.7}}, config=config(seed=1, output_dir="runs/a-1"))
OTHER = result(
    model="b",
    seed=3,
    metrics={"test": {"accuracy": 0.65}},
    num_parameters=7_000_000,
    latency=LATENCY,
    config=config(model={"window": 100}),
)
BERT = result(
    model="small-bert-0",
    model_type="bert",
    metrics={"test": {"accuracy": 0.8}},
    mixed_precision="bf16",
    config=config(max_length=512, model_name_or_path="some/bert"),
)
MEAN = result(model="mean-0", metrics={"test": {"accuracy": 0.66}}, config=config(model={"num_hidden_layers": 0}))
TFIDF = {name: value for name, value in result(model="tfidf-0", model_type="tfidf").items() if name != "served"}
TFIDF["config"] = {"seed": 0, "output_dir": "x", "dataset": "auto"}


def rows(results):
    return [line for line in report.table(report.models(results)).splitlines()[2:] if line.startswith("|")]


def test_a_row_is_the_mean_over_seeds_with_its_spread():
    assert rows([SECOND, result(), OTHER]) == [
        "| b | recurrent | last 100 | 0.6500 | 3 | 7,000,000 | 28.0 | 2 | 1.2 | 2,000 |",
        "| a | recurrent | all | 0.6000 (0.5000, 0.7000) | 0, 1 | 1,000 | 0.0 | 2 | – | – |",
    ]


def test_every_kind_of_model_has_its_name():
    found = {model.name: model for model in report.models([result(), BERT, MEAN, TFIDF])}
    kinds = {name: model.kind for name, model in found.items()}
    assert kinds == {"a": "recurrent", "small-bert": "transformer", "mean": "bag of words", "tfidf": "bag of words"}
    assert {name: model.reads() for name, model in found.items()} == dict.fromkeys(found, "all") | {
        "small-bert": "first 512"
    }
    assert "small-bert: a `bert` of 1,000 parameters, goes on from `some/bert`, 1 epochs, mixed precision: bf16" in (
        report.checkpoints(list(found.values()))
    )


def test_the_first_lines_say_who_won():
    found = report.models([result(), SECOND, BERT, MEAN, TFIDF])
    said = report.verdict(found)
    assert "best recurrent network, a (0.6000, 2 seeds), is" in said
    assert "6.0 points below the best bag of words, mean (0.6600, one seed)" in said
    assert "20.0 points below the best transformer, small-bert (0.8000, one seed)" in said
    assert "±1.0 points" in said  # 1.96 · sqrt(0.6 · 0.4 / 10,000)
    better = result(model="c-0", metrics={"test": {"accuracy": 0.9}})
    said = report.verdict(report.models([better, BERT, MEAN]))
    assert "24.0 points above the best bag of words" in said and "10.0 points above the best transformer" in said
    assert report.section([better, BERT]).splitlines()[2] == report.verdict(report.models([better, BERT])).strip()
    assert report.verdict(report.models([result()])) == "", "nothing to be held against"


def test_what_was_not_run_is_said():
    found = report.models([result(), SECOND, OTHER])
    assert report.not_run(found, ["a", "b", "c", "d"]).endswith(
        "- Not run: c, d.\n- One seed only, so without a spread: b.\n"
    )
    assert report.not_run(report.models([result(), SECOND]), ["a"]) == ""


def test_runs_with_other_options_are_no_seeds_of_one_model():
    other = result(model="a-1", seed=1, config=config(seed=1, batch_size=9))
    with pytest.raises(ValueError, match="runs of a differ in more than the seed"):
        report.models([result(), other])
    with pytest.raises(ValueError, match="two runs of a with the same seed"):
        report.models([result(), result()])


# ---- a user's own runs ----


def write(folder, run):
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(run))
    return str(folder)


def test_any_runs_have_a_report_a_section_for_each_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made = result(model="z-0", dataset={"name": "made", "source": "here", "splits": {"train": 3, "test": 9}})
    names = {"a-0": result(), "a-1": SECOND, "b": OTHER, "bert": BERT, "tfidf": TFIDF, "made": made}
    report.main([write(tmp_path / name, run) for name, run in names.items()])
    text = (tmp_path / "runs" / "report" / "RESULTS.md").read_text()
    own, other = text.split("\n# made\n")
    assert own.startswith("# own\n") and "| a |" in own and "| z |" not in own and "| z |" in other
    assert "Not run" not in text
    pictures = {path.name for path in (tmp_path / "runs" / "report" / "pictures").iterdir()}
    assert pictures == {f"{data}-{name}.png" for data in ("own", "made") for name in report.PICTURES}
    assert all(f"(pictures/{name})" in text for name in pictures)
    assert "runs/report/RESULTS.md" in capsys.readouterr().out


def test_folders_and_files_can_be_read(tmp_path):
    write(tmp_path / "a", result())
    assert report.read([tmp_path / "a"]) == report.read([tmp_path / "a" / "results.json"]) == [result()]
    with pytest.raises(SystemExit, match="there is no .*nowhere"):
        report.read([tmp_path / "a", tmp_path / "nowhere"])


def test_a_folder_without_results_is_named_and_left_out(tmp_path, capsys):
    write(tmp_path / "a", result())
    (tmp_path / "report").mkdir()
    assert report.read(sorted(tmp_path.iterdir())) == [result()]
    assert capsys.readouterr().out == f"left out: {tmp_path / 'report'} has no results.json\n"
    with pytest.raises(SystemExit, match="nothing to read"):
        report.read([tmp_path / "report"])


def test_runs_that_do_not_belong_together_leave_no_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="two runs of a with the same seed"):
        report.main([write(tmp_path / name, result()) for name in ("one", "two")])
    assert not (tmp_path / "runs" / "report" / "RESULTS.md").exists()
