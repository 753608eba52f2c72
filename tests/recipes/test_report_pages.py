"""The pages of a repository and the report of a user's own runs: what is written where, and from which results."""

import json
from pathlib import Path

import pytest

from recipes.lm import TASK as LANGUAGE
from recipes.report import __main__ as report
from recipes.report import committed, pages
from recipes.report.pictures import PICTURES
from recipes.report.runs import files, read
from tests.support.results import config, on, part, result, tagger


BENCHMARKS = ("generation", "language", "softmax", "speed", "crf", "crf-cuda")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of its own, with places for tables in its pages, and no runs."""
    for module in (committed, pages):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "recipes" / "results")
    for module in (committed, pages, report):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(committed, "CONFIGS", tmp_path / "recipes" / "configs")
    for task in ("imdb", "ner"):
        for folder in ("results", "configs"):
            (tmp_path / "recipes" / folder / task).mkdir(parents=True)
    for name in BENCHMARKS[3:]:
        given = Path(__file__).parents[2] / "recipes" / "results" / f"{name}.json"
        (tmp_path / "recipes" / "results" / given.name).write_text(given.read_text())
    (tmp_path / "recipes" / "pictures").mkdir()
    write_places(tmp_path / "README.md", "headline", "results")
    write_places(tmp_path / "recipes" / "RESULTS.md", "imdb", "conll2003", "wnut_17", "parts", *BENCHMARKS)
    return tmp_path


def write_places(path, *names):
    path.write_text("\n".join(f"# {name}\n{pages.BEGIN.format(name)}{pages.END}" for name in names))


def put(repository, *runs):
    for run in runs:
        (repository / "recipes" / "results" / run["task"] / f"{run['model']}.json").write_text(json.dumps(run))


def test_the_report_grows_with_the_results(repository, capsys):
    put(repository, result(dataset=on("imdb")))
    report.main([])
    results, readme = ((repository / path).read_text() for path in ("recipes/RESULTS.md", "README.md"))
    reviews, news, posts, *without_runs = results.split("\n# ")
    without_runs, benchmarks = without_runs[:4], without_runs[4:]
    assert all("No runs yet." in part for part in without_runs)
    assert "| a | recurrent |" in reviews and "|" not in news and "|" not in posts
    assert all("|---|" in part for part in benchmarks) and "pytorch-crf / rnnzoo" in benchmarks[-1]
    assert "| imdb | a | recurrent | accuracy 0.5000 |" in readme and "conll2003" not in readme
    put(
        repository,
        tagger("wnut-lstm-0", 0.4, dataset=on("wnut_17"), config=config(dataset="wnut_17")),
        tagger("lstm-0", 0.9, dataset=on("conll2003")),
        tagger("rnn-0", 0.7, dataset=on("conll2003")),
    )
    (repository / "recipes" / "configs" / "ner" / "gru.yaml").write_text("model:\n  model_type: rnnzoo-gru\n")
    report.main([])
    results, readme = ((repository / path).read_text() for path in ("recipes/RESULTS.md", "README.md"))
    reviews, news, posts, *_ = results.split("\n# ")
    assert "| lstm |" in news and "| rnn |" in news and "| wnut-lstm |" in posts
    assert "0.9126" in news and "0.4959" in posts and "Akbik" not in news
    assert "Not run: gru." in news and "Not run" not in posts
    for section, dataset in ((news, "conll2003"), (posts, "wnut_17")):
        assert "LOC (1,668)" in section
        for name in PICTURES:
            assert f"(pictures/{dataset}-{name}.png)" in section
            assert (repository / "recipes" / "pictures" / f"{dataset}-{name}.png").exists()
    assert [line.split(" | ")[:2] for line in readme.splitlines() if line.startswith("| ")][1:] == [
        *(["| imdb", "a"], ["| conll2003", "lstm"], ["| wnut_17", "wnut-lstm"])
    ]
    for path, text in pages.pages().items():
        assert path.read_text() == text, "written twice, it is the same"


def test_runs_that_evaluated_validation_only_have_a_part_of_their_own(repository):
    put(repository, result(dataset=on("imdb")))
    (repository / "recipes" / "results" / "parts").mkdir()
    for run in (part("base", 0.9), part("vectors", 0.91, word_vectors="word2vec")):
        (repository / "recipes" / "results" / "parts" / f"{run['model']}.json").write_text(json.dumps(run))
    report.main([])
    reviews, _, _, compared, *_ = (repository / "recipes" / "RESULTS.md").read_text().split("\n# ")
    assert "| vectors | word_vectors word2vec | – | 0.9100 | +1.0 | 0 | 2 |" in compared and "vectors" not in reviews


def test_language_models_are_compared_by_perplexity_after_hours_of_training(repository):
    put(repository, result(dataset=on("imdb")))
    folder = repository / "recipes" / "results" / "parts" / "language"
    folder.mkdir(parents=True)
    for name, perplexities in (("gru", (300.0, 200.0)), ("lstm", (250.0,))):
        run = part(name, 0.0)
        run |= LANGUAGE.record() | {
            "metrics": {"validation": {"perplexity": perplexities[-1]}},
            "history": [
                {"train_seconds": 1800.0 * number, "validation": {"perplexity": perplexity}}
                for number, perplexity in enumerate(perplexities, start=1)
            ],
            "model_config": {"hidden_size": 256},
        }
        (folder / f"{run['model']}.json").write_text(json.dumps(run))
    report.main([])
    results = (repository / "recipes" / "RESULTS.md").read_text()
    _, _, _, compared, _, models, *_ = results.split("\n# ")
    best, other = (line for line in models.splitlines() if "1,000" in line)
    assert best == "| gru | 256 | 1,000 | 300.0 in 0.50 h | 200.0 in 1.00 h |"
    assert other == "| lstm | 256 | 1,000 | 250.0 in 0.50 h | – |"
    assert "No runs yet." in compared
    assert (repository / "recipes" / "pictures" / "language.png").exists()


def test_a_page_without_a_place_for_a_table_is_named(repository):
    put(repository, result(dataset=on("imdb")))
    write_places(repository / "recipes" / "RESULTS.md", "conll2003", "parts", *BENCHMARKS)
    with pytest.raises(SystemExit, match="RESULTS.md has no line <!-- imdb: written by make report -->"):
        report.main([])


def test_a_configuration_is_for_one_data_set(repository):
    configs = {
        "imdb": {"lstm": "seed: 0\n", "made-lstm": "dataset: made\n"},
        "ner": {"lstm": "seed: 0\n# dataset: wnut_17\n", "wnut-lstm": "output_dir: x\ndataset: wnut_17\nseed: 0\n"},
    }
    for task, texts in configs.items():
        for name, text in texts.items():
            (repository / "recipes" / "configs" / task / f"{name}.yaml").write_text(text)
    default, other = [tagger("a-0", 0.5)], [tagger("a-0", 0.5, config=config(dataset="wnut_17"))]
    assert committed.configurations("imdb", [result()]) == ["lstm", *committed.BASELINES["imdb"]]
    assert committed.configurations("conll2003", default) == ["lstm"]
    assert committed.configurations("wnut_17", other) == ["wnut-lstm"]


# ---- a user's own runs ----


def write(folder, run):
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(run))
    return str(folder)


def test_any_runs_have_a_report_with_a_section_for_each_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    splits = {"train": 3, "test": 9}
    sets = {"made": ("made", "here"), "hub": ("some one/set", "Hub"), "own-2": ("own", "elsewhere")}
    runs = {
        name: result(model="z-0", dataset={"name": dataset, "source": source, "splits": splits})
        for name, (dataset, source) in sets.items()
    }
    report.main([write(tmp_path / name, run) for name, run in ({"a-0": result()} | runs).items()])
    text = (tmp_path / "runs" / "report" / "RESULTS.md").read_text()
    parts = dict(zip(["own", *runs], text.split("\n# "), strict=True))
    assert "| a |" in parts["own"] and all("| z |" in parts[name] for name in runs)
    assert "generated by a small grammar" in parts["made"] and text.count("generated by a small grammar") == 1
    assert "Not run" not in text
    pictures = {path.name for path in (tmp_path / "runs" / "report" / "pictures").iterdir()}
    prefixes = ("own", "made", "some-one-set", "own-3")
    assert pictures == {f"{prefix}-{name}.png" for prefix in prefixes for name in PICTURES}
    assert all(f"(pictures/{name})" in text for name in pictures)
    assert "runs/report/RESULTS.md" in capsys.readouterr().out


def test_folders_and_files_can_be_read(tmp_path, capsys):
    write(tmp_path / "a", result())
    (tmp_path / "report").mkdir()
    (tmp_path / "some.log").write_text("...")
    assert files(sorted(tmp_path.iterdir())) == files([tmp_path / "a" / "results.json"])
    assert read(tmp_path / "a" / "results.json") == result()
    assert f"left out: {tmp_path / 'some.log'}, which is not a folder with a results.json\n" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="there is no .*nowhere"):
        files([tmp_path / "a", tmp_path / "nowhere"])
    with pytest.raises(SystemExit, match="nothing to read"):
        files([tmp_path / "report"])


def test_runs_that_cannot_be_shown_leave_no_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unknown = {name: value for name, value in result(task="painting").items() if name != "description"}
    for name, runs, says in (
        ("seeds", [result(), result()], "two runs of a with the same seed"),
        ("task", [unknown], "the task 'painting', and there is no recipes/painting.py"),
        ("traits", [result(description=result()["description"] | {"traits": ["colour"]})], "the trait 'colour'"),
    ):
        (tmp_path / name).mkdir()
        with pytest.raises(SystemExit, match=f"error: .*{says}"):
            report.main([write(tmp_path / name / str(number), run) for number, run in enumerate(runs)])
        assert not (tmp_path / "runs" / "report" / "RESULTS.md").exists()
