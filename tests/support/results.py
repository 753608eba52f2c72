"""Results as runs of recipes.imdb and recipes.ner write them, small and made up, for what reads results.json files."""

from recipes.imdb import TASK as CLASSIFY
from recipes.ner import TASK as TAG
from rnnzoo.training.evaluation import packed
from rnnzoo.training.options import incidental


def result(of=CLASSIFY, **changes):
    """A run of a network of the zoo; `changes` replace what it says."""
    return {
        **of.record(),
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
        "config": config(),
        "incidental_options": incidental(of.Options),
    } | changes


def config(**changes):
    """The options of that run."""
    options = {"seed": 0, "output_dir": "runs/a-0", "dataset": "auto", "batch_size": 8, "max_length": None}
    return options | {"model": {}} | changes


def scored(test, validation=None):
    """Metrics of a classifier."""
    return {"validation": {"accuracy": validation or test}, "test": {"accuracy": test}}


def tagger(name, f1, **changes):
    """A run of a tagger; the seed is the last character of its name."""
    types = {"LOC": {"f1": f1 + 0.01, "number": 1_668}, "PER": {"f1": f1 - 0.01, "number": 40}}
    found = {"f1": f1, "precision": f1, "recall": f1, "per_type": types}
    made = {
        "model": name,
        "seed": int(name[-1]),
        "metrics": {"validation": found, "test": found},
        "history": [{"train_seconds": 1.0, "validation": found}],
        "model_config": {"character_size": 0, "use_crf": False},
    }
    return result(TAG, **made | changes)


# The splits of the known data sets.
SPLITS = {
    "imdb": {"train": 20_000, "validation": 5_000, "test": 25_000},
    "conll2003": {"train": 14_041, "validation": 3_250, "test": 3_453},
    "wnut_17": {"train": 3_394, "validation": 1_009, "test": 1_287},
    "nottingham": {"train": 818, "validation": 110, "test": 106},
}


def on(name):
    """A known data set, as results.json describes it."""
    return {"name": name, "source": "here", "splits": SPLITS[name]}


def answered(run, correct):
    """The run, with which test examples it was right on, and the split and the accuracy that follow from it."""
    dataset = run["dataset"] | {"splits": run["dataset"]["splits"] | {"test": len(correct)}}
    metrics = run["metrics"] | {"test": {"accuracy": sum(correct) / len(correct)}}
    return run | {"dataset": dataset, "metrics": metrics, "test_correct": packed(correct)}


def part(name, accuracy, seed=0, **changes):
    """A run that evaluated validation only; `changes` replace its options."""
    dataset = {"name": "imdb", "source": "here", "splits": {"train": 19_885, "validation": 5_000, "test": 25_000}}
    return result(
        model=f"{name}-{seed}",
        seed=seed,
        dataset=dataset | {"validation": "films"},
        metrics={"validation": {"accuracy": accuracy}},
        train_seconds=90.0,
        config=config(seed=seed, output_dir=f"runs/{name}-{seed}", validation_only=True, **changes),
    )


def films(**changes):
    """A run that was selected on the recorded validation split of IMDB."""
    splits = SPLITS["imdb"] | {"train": 19_885}
    return result(**{"dataset": on("imdb") | {"splits": splits, "validation": "films"}} | changes)
