"""The checkpoints of model_cards/: what is said of them is so, and they are used as their cards say."""

import json
import re
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification, pipeline

import rnnzoo
from recipes import eval_zoo, zoo
from rnnzoo import zoo as listed
from tests.support.hub_server import Hub, Repository, validates_here
from tests.training.test_hub import connect, environment, files_of


ROOT = Path(__file__).parents[2]
FOLDERS = {folder.name: folder for folder in zoo.folders()}
QUICK = ("lstm-glove-conll2003",)  # to evaluate: seconds
HEADS = {"imdb": AutoModelForSequenceClassification, "ner": AutoModelForTokenClassification}
MEGABYTES = {"imdb": 4, "ner": 8}

every = pytest.mark.parametrize("name", FOLDERS)


def run_of(name):
    return zoo.results(FOLDERS[name])


# ---- what there is ----


def test_there_are_the_families_the_book_and_a_tagger():
    assert {"rnn-imdb", "birnn-imdb", "lstm-imdb", "gru-imdb", "book-lstm-imdb"} < set(FOLDERS)
    assert {run_of(name)["task"] for name in FOLDERS} == {"imdb", "ner"}


def test_everything_that_is_said_is_what_the_results_say():
    for path, text in zoo.texts().items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is old: make report"


@every
def test_a_folder_is_small_and_whole(name):
    folder, task = FOLDERS[name], run_of(name)["task"]
    names = {path.name for path in folder.iterdir()}
    assert {"README.md", "config.json", "history.png", "model.safetensors", "results.json", "tokenizer.json"} < names
    assert {path.suffix for path in folder.iterdir()} == {".json", ".md", ".png", ".py", ".safetensors"}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MEGABYTES[task] * 1_000_000
    assert run_of(name)["weights_bytes"] == (folder / "model.safetensors").stat().st_size
    assert run_of(name)["dataset"]["name"] != "made" and "dirty" not in run_of(name)["git_commit"]


@every
def test_weights_are_stored_in_half_and_computed_with_in_fp32(name):
    stored, run = load_file(FOLDERS[name] / "model.safetensors"), run_of(name)
    assert {weight.dtype for weight in stored.values()} == {torch.float16}
    model = HEADS[run["task"]].from_pretrained(FOLDERS[name])
    assert sum(weight.numel() for weight in stored.values()) == run["num_parameters"] == model.num_parameters()
    for key, weight in model.state_dict().items():
        assert weight.dtype == torch.float32 and torch.equal(weight, stored[key].float())
    assert AutoModel.from_pretrained(FOLDERS[name]).dtype == torch.float32
    if run["task"] == "imdb":
        half = run["metrics"]["validation"]["accuracy"]
        full = run["history"][run["best_epoch"] - 1]["validation"]["accuracy"]
        assert abs(half - full) <= 0.0004, "two of 5,000 rows"


# ---- the list ----


def test_models_are_listed_by_pattern():
    assert [found.name for found in rnnzoo.list_models()] == sorted(FOLDERS)
    assert [found.name for found in rnnzoo.list_models("*gru*")] == ["gru-imdb"]
    assert rnnzoo.list_models("*GRU*") == rnnzoo.list_models("nothing") == []
    for found in rnnzoo.list_models():
        run = run_of(found.name)
        assert Path(found.path) == FOLDERS[found.name]
        assert found.task == ModelCard.load(FOLDERS[found.name] / "README.md").data.pipeline_tag
        assert (found.dataset, found.num_parameters) == (run["dataset"]["name"], run["num_parameters"])
        for metric, value in found.metrics.items():
            assert value == round(run["metrics"]["test"][metric], 4)


def test_without_a_clone_the_path_is_the_hubs(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "rnnzoo"
    package.mkdir(parents=True)
    (package / "zoo.json").write_text((ROOT / "rnnzoo" / "zoo.json").read_text())
    # An empty folder of that name is no checkpoint.
    (tmp_path / "site-packages" / "model_cards" / "lstm-imdb").mkdir(parents=True)
    monkeypatch.setattr(listed, "_HERE", package)
    assert [found.path for found in rnnzoo.list_models("lstm-imdb")] == ["rnnzoo/lstm-imdb"]


# ---- they are used as their cards say ----


@pytest.mark.parametrize("name", [name for name in FOLDERS if name.endswith("-imdb")])
def test_a_classifier_answers_right(name):
    classify = pipeline("text-classification", model=str(FOLDERS[name]))
    praise = "A wonderful film: the acting is superb, the story is moving, and I loved every minute of it."
    blame = "A terrible film: the acting is awful, the story is boring, and it was a waste of my time."
    assert [answer["label"] for answer in classify([praise, blame, praise], batch_size=2)] == [
        *("positive", "negative", "positive")
    ]


@pytest.mark.parametrize("name", [name for name in FOLDERS if "conll2003" in name])
def test_a_tagger_finds_names(name):
    text = "Mr. Peter Blackburn of the European Commission flew from BRUSSELS to New York."
    found = pipeline("token-classification", model=str(FOLDERS[name]), aggregation_strategy="simple")(text)
    assert [(part["entity_group"], text[part["start"] : part["end"]]) for part in found] == [
        *(("PER", "Peter Blackburn"), ("ORG", "European Commission"), ("LOC", "BRUSSELS"), ("LOC", "New York"))
    ]


def blocks(name):
    """The Python of a card: for the pipeline, for the model itself, and where rnnzoo is not installed."""
    card = (FOLDERS[name] / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.+?)^```", card, re.DOTALL | re.MULTILINE)
    assert len(found) == len(re.findall("^```", card, re.MULTILINE)) // 2 == 3
    return found


def said(text):
    """What was printed, without the digits that rounding decides."""
    return re.sub(r"\d\.\d+", lambda number: f"{float(number[0]):.4f}", text)


REMOTE = """
import json
import sys
from contextlib import redirect_stdout
from io import StringIO

sys.modules["rnnzoo"] = None  # an import of it fails
printed = {}
for name, block in json.load(open(sys.argv[1])).items():
    with redirect_stdout(StringIO()) as out:
        exec(block, {})
    printed[name] = out.getvalue()
print("\\n" + json.dumps(printed))
"""


@validates_here
def test_the_hub_takes_the_cards(tmp_path, monkeypatch):
    with Hub() as hub:
        connect(monkeypatch, hub, tmp_path / "cache")
        for folder in FOLDERS.values():
            ModelCard.load(folder / "README.md").validate()


def test_the_lines_of_the_cards_run(tmp_path, monkeypatch):
    printed = {}
    with Hub() as hub:
        connect(monkeypatch, hub, tmp_path / "cache")
        for name, folder in FOLDERS.items():
            hub.repositories[f"rnnzoo/{name}"] = repository = Repository("rnnzoo", private=False)
            repository.commit("main", files_of(folder))
            with redirect_stdout(StringIO()) as out:
                exec(blocks(name)[0], {})
            printed[name] = out.getvalue()
            with redirect_stdout(StringIO()) as out:
                exec(blocks(name)[1], {})
            assert "tensor" in out.getvalue()
        (tmp_path / "blocks.json").write_text(json.dumps({name: blocks(name)[2] for name in FOLDERS}))
        child = subprocess.run(
            [sys.executable, "-c", REMOTE, str(tmp_path / "blocks.json")],
            cwd=tmp_path, env=environment(hub, tmp_path / "home", HF_TOKEN=""),
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
    assert child.returncode == 0, child.stderr[-3000:]
    remote = json.loads(child.stdout.splitlines()[-1])
    assert {name: said(text) for name, text in remote.items()} == {name: said(text) for name, text in printed.items()}


# ---- the scores that cards report for the test split ----


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FOLDERS]
)
def test_the_pipeline_has_the_scores_of_the_card(name):
    assert eval_zoo.differing(FOLDERS[name]) == []


@every
def test_a_score_that_is_not_that_of_the_card_is_named(name, monkeypatch, capsys):
    run = run_of(name)
    metric = "accuracy" if run["task"] == "imdb" else "f1"
    measured = dict(run["metrics"]["test"])
    monkeypatch.setitem(eval_zoo.SCORES, run["task"], lambda folder, results: measured)
    eval_zoo.main([str(FOLDERS[name])])
    measured[metric] += 0.0001
    with pytest.raises(SystemExit, match=f"error: {name} has {metric} "):
        eval_zoo.main([str(FOLDERS[name])])
    assert f"{name}: {metric} {measured[metric]:.4f}, on its card" in capsys.readouterr().out
