"""A new task is one file and its YAML: training, card, report, latency and eval-zoo need nothing else."""

import importlib
import json
import sys

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import pipeline

from recipes import eval_zoo
from recipes.benchmarks import latency
from recipes.report.__main__ import main as write_report
from recipes.report.sections import section
from rnnzoo.training import parity
from rnnzoo.training.run import run
from tests.support.recipes import answered_here, fresh_accelerator


RECIPE = '''
"""The number of stars that a review gives (regression).

accelerate launch -m recipes.stars --config recipes/configs/stars/gru.yaml
"""

import random
from typing import ClassVar

import torch
from datasets import Dataset, DatasetDict
from sklearn.metrics import mean_absolute_error, r2_score

import rnnzoo
from rnnzoo.data.corpus import Corpus
from rnnzoo.training.run import main
from rnnzoo.training.task import Description, Task


STARS = {"awful": -2, "bad": -1, "a": 0, "film": 0, "good": 1, "superb": 2}


class Stars(Task):
    """Regression. A prediction is a number."""

    name = "stars"
    kind = "text-classification"
    description = Description(
        pipeline="text-classification",
        pipeline_options={"function_to_apply": "none"},
        auto_class="AutoModelForSequenceClassification",
        verb="rate",
        example="a good film",
        metric="r2",
        metric_meaning="share of the variance of the stars that is explained",
        unit="review",
        answer="stars",
        rate="words",
        timed_examples=8,
        traits=("model_config.hidden_size", "words read"),
    )
    train_tokenizer = staticmethod(rnnzoo.train_tokenizer)
    config_fields: ClassVar = {"problem_type": "regression"}

    @classmethod
    def load(cls, dataset, *, seed, validation_fraction=None):
        rng, splits = random.Random(0), DatasetDict()
        for split, size in {"train": 256, "validation": 32, "test": 32}.items():
            words = [rng.choices(list(STARS), k=rng.randint(1, 5)) for _ in range(size)]
            stars = [float(sum(map(STARS.get, row))) for row in words]
            splits[split] = Dataset.from_dict({"text": list(map(" ".join, words)), "stars": stars})
        return Corpus("reviews", "made by this recipe", ["stars"], splits)

    def encode(self, columns):
        ids = self.tokenizer(columns["text"], return_attention_mask=False)["input_ids"]
        return {"input_ids": ids, "length": list(map(len, ids)), "labels": columns["stars"]}

    def collate(self, columns):
        batch = self.tokenizer.pad({"input_ids": columns["input_ids"]}, return_tensors="pt")
        return {**batch, "labels": torch.tensor(columns["labels"])}

    def predict(self, model, batch, columns):
        outputs = model(**batch)
        return outputs.loss, outputs.logits[:, 0].tolist()

    def references(self, examples):
        return examples["stars"][:]

    def metrics(self, predictions, references):
        return {"r2": r2_score(references, predictions), "error": mean_absolute_error(references, predictions)}

    def counts(self, example):
        return {"texts": 1, "words": len(example["text"].split())}

    def read_answer(self, answer, example):
        return answer["score"]


TASK = Stars

if __name__ == "__main__":
    main(TASK)
'''

YAML = """\
model:
  model_type: rnnzoo-gru
  embedding_size: 8
  hidden_size: 24
tokenizer:
  vocab_size: 10
batch_size: 32
learning_rate: 0.02
num_train_epochs: 6
num_threads: 1
verify_rows: 16
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder beside this repository, with a recipe and a configuration of its own."""
    place = tmp_path_factory.mktemp("beside")
    (place / "recipes" / "configs" / "stars").mkdir(parents=True)
    (place / "recipes" / "stars.py").write_text(RECIPE)
    (place / "recipes" / "configs" / "stars" / "gru.yaml").write_text(YAML)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))  # recipes/ is a namespace package: a second folder extends it
        patch.chdir(place)
        yield place
    sys.modules.pop("recipes.stars", None)


@pytest.fixture(scope="module")
def task(place):
    return importlib.import_module("recipes.stars").TASK


def trained(task, folder, *flags):
    fresh_accelerator()
    return run(task, ["--config", "recipes/configs/stars/gru.yaml", "--output_dir", folder, *flags])


@pytest.fixture(scope="module")
def results(task):
    """A run of the new task with its configuration, verified through pipeline()."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "answers", answered_here)
        return trained(task, "runs/gru-0")


def test_it_trains_and_is_verified_through_the_pipeline(place, results):
    assert results["metrics"]["test"]["r2"] > 0.8
    assert set(results["metrics"]["test"]) == {"r2", "error", "loss"}
    served = results["served"]
    assert served["rows"] == 16 and 0 < served["largest_difference"] < 1e-4
    assert set(served["r2"]) == {"batch_1", "batch_32"}
    rate = pipeline("text-classification", model=str(place / "runs" / "gru-0"), function_to_apply="none")
    good, bad = rate(["superb good", "bad awful"])
    assert good["score"] > 1 > -1 > bad["score"]


def test_results_say_what_the_task_is_and_have_no_probes(place, results):
    found = json.loads((place / "runs" / "gru-0" / "results.json").read_text())
    assert found == json.loads(json.dumps(results))
    assert (found["task"], found["kind"], found["probes"]) == ("stars", "text-classification", [])
    assert found["description"]["metric"] == "r2" and found["description"]["traits"][0] == "model_config.hidden_size"


def test_the_card_has_its_metric_and_its_call(place, results):
    card = ModelCard.load(place / "runs" / "gru-0" / "README.md")
    assert {each.metric_type: each.metric_value for each in card.data.eval_results} == results["metrics"]["test"]
    assert 'print(rate("a good film", function_to_apply="none"))' in card.text
    (block,) = [part for part in card.text.split("```python\n") if part.startswith("import torch")]
    known = {}
    exec(block.partition("```")[0], known)
    assert known["logits"].shape == (1, 1)


def test_the_report_has_a_row_with_its_traits(place, results, task):
    latency.main(["runs/gru-0"])
    times = json.loads((place / "runs" / "gru-0" / "results.json").read_text())["latency"]
    assert times["texts"] == 8 and times["words_per_second"] > times["texts_per_second"] > 0
    write_report(["runs/gru-0"])
    text = (place / "runs" / "report" / "RESULTS.md").read_text()
    heading = "| model | kind | hidden_size | words read | test r2, mean (from, to) | validation r2 "
    heading += "| test − validation | seeds | parameters |"
    assert heading in text and "| ms per review | words/s |" in text
    test, validation = (results["metrics"][split]["r2"] for split in ("test", "validation"))
    row = f"| gru | recurrent | 24 | all | {test:.4f} | {validation:.4f} | {100 * (test - validation):+.1f} | 0 |"
    assert row in text and results["test_correct"] is None
    assert "share of the variance of the stars that is explained" in text
    assert (place / "runs" / "report" / "pictures" / "reviews-latency.png").exists()


def test_the_entire_test_split_is_evaluated_in_a_fresh_process(results, capsys):
    eval_zoo.main(["runs/gru-0"])
    assert f"gru-0: r2 {results['metrics']['test']['r2']:.4f}, on its card" in capsys.readouterr().out


def test_an_interrupted_run_resumes(place, results, task, monkeypatch, served_here):
    collate, calls = task.collate, []

    def interrupted(self, columns):
        calls.append(columns)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return collate(self, columns)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(task, "collate", interrupted)
        trained(task, "runs/again", "--checkpointing_steps", "3")
    assert (place / "runs" / "again" / "checkpoints").is_dir()
    resumed = trained(task, "runs/again", "--resume")
    assert resumed["metrics"] == results["metrics"]
    ours, theirs = (load_file(place / "runs" / name / "model.safetensors") for name in ("again", "gru-0"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_trait_that_nobody_knows_is_refused_with_its_name(results):
    unknown = json.loads(json.dumps(results))
    unknown["description"]["traits"] = ["colour"]
    with pytest.raises(ValueError, match="trait 'colour'"):
        section([unknown], "reviews")
