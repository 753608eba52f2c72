"""The README's table is what the committed results.json files say; tables refuse to mix what cannot be compared."""

import json
from pathlib import Path

import pytest

from recipes import report


ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "recipes" / "results" / "imdb").glob("*.json"))


def test_the_readme_shows_the_results_that_are_here():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tables = report.tables()
    assert report.readme(text, tables) == text
    for table in tables.values():
        assert table in text


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_is_a_whole_run_on_the_whole_data_set(path):
    (result,) = report.read([path])
    assert path.stem == f"{result['model']}" and result["model"].endswith(f"-{result['seed']}")
    assert result["dataset"]["splits"] == {"train": 20_000, "validation": 5_000, "test": 25_000}
    assert len(result["git_commit"]) == 40, "the code that ran was not committed"
    assert not result["config"]["output_dir"].startswith("/")
    # What pipeline() answered for every test row gives the same score.
    assert result["served"]["rows"] == 25_000
    for accuracy in result["served"]["accuracy"].values():
        assert accuracy == pytest.approx(result["metrics"]["test"]["accuracy"], abs=5e-5)


def result(**changes):
    return {
        "model": "a-0",
        "model_type": "rnnzoo-lstm",
        "seed": 0,
        "dataset": {"name": "imdb", "source": "here", "splits": {"train": 3}},
        "metrics": {"test": {"accuracy": 0.5}},
        "num_parameters": 1000,
        "train_seconds": 2.0,
        "device": "a machine",
        "served": {"largest_difference": 1e-7},
        "config": {"seed": 0, "output_dir": "runs/a-0", "batch_size": 8},
    } | changes


def test_a_row_is_the_mean_over_seeds_with_its_spread():
    second = result(model="a-1", seed=1, metrics={"test": {"accuracy": 0.7}})
    second["config"] |= {"seed": 1, "output_dir": "runs/a-1"}
    other = result(model="b", seed=3, metrics={"test": {"accuracy": 0.65}}, num_parameters=7_000_000)
    rows = report.table([result(), second, other]).splitlines()[2:4]
    assert rows == [
        "| b | 0.6500 | 3 | 7,000,000 | 28.0 | 2 | 1e-07 |",
        "| a | 0.6000 (0.5000, 0.7000) | 0, 1 | 1,000 | 0.0 | 2 | 1e-07 |",
    ]


def test_runs_with_other_options_are_no_seeds_of_one_model():
    other = result(model="a-1", seed=1, config={"seed": 1, "output_dir": "x", "batch_size": 9})
    with pytest.raises(ValueError, match="runs of a differ in more than the seed"):
        report.table([result(), other])
    with pytest.raises(ValueError, match="two runs of a with the same seed"):
        report.table([result(), result()])


def test_runs_on_other_data_do_not_stand_in_one_table():
    made = result(model="b", dataset={"name": "made", "source": "here", "splits": {"train": 3}})
    with pytest.raises(ValueError, match="different data"):
        report.table([result(), made])


def test_folders_and_files_can_be_read(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(result()))
    assert report.read([tmp_path]) == report.read([tmp_path / "results.json"]) == [result()]
