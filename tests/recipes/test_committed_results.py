"""The results of this repository are complete runs of its configurations, and its pages and pictures show them."""

import math

import pytest
from PIL import Image

from recipes.report.committed import CONFIGS, PARTS, RESULTS, ROOT, committed, committed_parts, configurations
from recipes.report.labels import lines
from recipes.report.language import language_models
from recipes.report.mcnemar import correct
from recipes.report.pages import pages
from recipes.report.pictures import digest, drawn
from recipes.report.runs import complete, models, read
from recipes.tasks import task_of
from rnnzoo.data.recorded import recorded
from rnnzoo.training.command_line import parse
from rnnzoo.training.parity import TOLERANCE
from tests.support.results import SPLITS


FILES = sorted(path for path in RESULTS.glob("*/*.json") if path.parent.name != PARTS)
NETWORKS = [path for path in FILES if read(path)["model_type"] != "tfidf"]
COMMITTED = committed()
GENERATION = RESULTS / "generation.json"
LANGUAGES = language_models(committed_parts())
ENTITIES = {
    "conll2003": {"LOC": 1_668, "MISC": 702, "ORG": 1_661, "PER": 1_617},
    "wnut_17": {
        **{"corporation": 66, "creative-work": 142, "group": 165},
        **{"location": 150, "person": 429, "product": 127},
    },
}


def test_the_pages_show_what_the_results_say():
    for path, text in pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is out of date: make report"
    results = (ROOT / "recipes" / "RESULTS.md").read_text(encoding="utf-8")
    for path in FILES:
        # A run on few labels is a point of the line that its name is without their number.
        number = read(path)["config"].get("train_examples")
        assert f"| {path.stem.rpartition('-')[0].removesuffix(f'-{number}')} |" in results
    for path in RESULTS.glob(f"{PARTS}/**/*.json"):
        assert f"| {path.stem.removesuffix('-0')} |" in results


@pytest.mark.parametrize("dataset", COMMITTED)
def test_the_pictures_show_these_results(dataset):
    pictures = drawn(models(complete(COMMITTED[dataset])))
    for name in [*pictures, *(["labels"] if lines(COMMITTED[dataset]) else [])]:
        with Image.open(ROOT / "recipes" / "pictures" / f"{dataset}-{name}.png") as picture:
            assert picture.info["Description"] == digest(COMMITTED[dataset]), f"{name} is out of date: make report"


@pytest.mark.skipif(not GENERATION.exists(), reason="the benchmark of generate() has no results yet")
def test_the_picture_of_generation_shows_these_results():
    with Image.open(ROOT / "recipes" / "pictures" / "generation.png") as picture:
        assert picture.info["Description"] == digest([read(GENERATION)]), "it is out of date: make report"


@pytest.mark.skipif(not LANGUAGES, reason="no language models were compared yet")
def test_the_picture_of_language_models_shows_these_results():
    with Image.open(ROOT / "recipes" / "pictures" / "language.png") as picture:
        assert picture.info["Description"] == digest(LANGUAGES), "it is out of date: make report"


def test_a_result_is_a_complete_run_on_the_complete_data_set():
    for path in FILES:
        result = read(path)
        dataset, task = result["dataset"], path.parent.name
        assert result["task"] == task, path
        assert path.stem == result["model"] and result["model"].endswith(f"-{result['seed']}")
        splits, fraction = SPLITS[dataset["name"]], result["config"].get("validation_fraction")
        if fraction:  # split anew, of the same examples
            both = splits["train"] + splits["validation"]
            validation = math.ceil(fraction * both)
            splits = splits | {"train": both - validation, "validation": validation}
        if name := dataset.get("validation"):  # recorded by row numbers of the complete training split
            found = recorded(dataset["name"], name)
            held_out, left_out = (sum(b - a for a, b in blocks) for blocks in (found.validation, found.left_out))
            splits = splits | {"train": found.rows - held_out - left_out, "validation": held_out}
        if number := result["config"].get("train_examples"):
            splits = splits | {"train": number}
        if keys := result["config"].get("transpositions"):
            splits = splits | {"train": (1 + keys) * splits["train"]}
        assert dataset["splits"] == splits, path
        assert len(result["git_commit"]) == 40, f"{path}: the code that ran was not committed"
        assert not result["config"]["output_dir"].startswith("/")
        if result.get("test_correct"):
            assert correct(result).mean() == pytest.approx(result["metrics"]["test"]["accuracy"], abs=1e-9), path
        if task == "ner":
            found = result["metrics"]["test"]["per_type"]
            assert {kind: values["number"] for kind, values in found.items()} == ENTITIES[dataset["name"]]


@pytest.mark.parametrize("dataset", COMMITTED)
def test_every_model_was_timed(dataset):
    """All but language models: what one token takes is measured by a benchmark of its own."""
    runs = [run for run in complete(COMMITTED[dataset]) if run["kind"] != "text-generation"]
    for model in models(runs):
        timed = [run for run in model.runs if "latency" in run]
        # One of the seeds stands for all.
        assert timed, f"{model.name}: python -m recipes.latency"
        for run in timed:
            assert run["latency"]["milliseconds"] > 0 and len(run["latency"]["git_commit"]) == 40
            assert run["latency"][f"{run['description']['rate']}_per_second"] > 0


def test_a_part_of_a_training_was_not_compared_on_test():
    for path in RESULTS.glob(f"{PARTS}/**/*.json"):
        result = read(path)
        assert list(result["metrics"]) == ["validation"] and path.stem == result["model"], path
        assert len(result["git_commit"]) == 40, f"{path}: the code that ran was not committed"


def test_every_network_was_compared_with_its_pipeline():
    for result in map(read, NETWORKS):
        served = result["served"]
        rows = min(200, result["dataset"]["splits"]["test"])
        assert served["rows"] >= rows and served["largest_difference"] <= TOLERANCE, result["model"]
        if result["task"] == "imdb" and served["rows"] == 25_000:  # all of them: the same score
            for accuracy in served["accuracy"].values():
                assert accuracy == pytest.approx(result["metrics"]["test"]["accuracy"], abs=5e-5)


def test_a_result_was_made_by_the_configuration_of_its_name():
    for path in NETWORKS:
        result, name = read(path), path.stem.rpartition("-")[0]
        dataset = result["dataset"]["name"]
        # Options that do not decide what is learned; the maximum length of a transformer is the model's to say.
        free = ("seed", "max_length", "mixed_precision", *result["incidental_options"])
        number, known = result["config"].get("train_examples"), configurations(dataset, COMMITTED[dataset])
        if number and name not in known:  # on few labels, by the configuration for all of them
            name, free = name.removesuffix(f"-{number}"), (*free, "train_examples")
        assert name in known, path
        # Without the checks of a run: the teachers of a student, for one, are in ignored folders.
        options = parse(task_of(result).Options, ["--config", str(CONFIGS / path.parent.name / f"{name}.yaml")])
        for option, value in vars(options).items():
            if option not in free:
                # An option that was added later had its default value.
                default = getattr(task_of(result).Options, option, None)
                assert result["config"].get(option, default) == value, (path, option)
        assert result["mixed_precision"] == (options.mixed_precision or "no")
        if options.model_name_or_path and not result["model_type"].startswith("rnnzoo-"):  # those read entire texts
            assert result["config"]["max_length"] >= 256


def test_a_network_that_reads_all_of_a_review_is_small_and_quickly_trained():
    for family in ("rnn", "birnn", "lstm", "gru"):
        runs = [run for run in COMMITTED["imdb"] if run["model"].rpartition("-")[0] == family]
        assert runs
        for run in runs:
            assert 2 * run["num_parameters"] < 4e6  # bytes in half precision
            assert run["train_seconds"] < 20 * 60 and "2 cores" in run["device"]


def test_taggers_are_small():
    """All but those that have every word of GloVe's file."""
    for dataset in ("conll2003", "wnut_17"):
        runs = [run for run in COMMITTED[dataset] if run["model_type"].startswith("rnnzoo-")]
        runs = [run for run in runs if run["config"]["tokenizer"]["vocab_size"] < 400_000]
        assert runs and all(2 * run["num_parameters"] < 8e6 for run in runs)  # bytes in half precision
