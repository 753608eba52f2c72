"""The checkpoints of model_cards/: what is said of them is so, and they are used as their cards say."""

import json
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer, pipeline

import rnnzoo
from recipes import eval_zoo, stage, zoo
from recipes.tasks import task_of
from rnnzoo import zoo as listed
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.errors import RecipeError
from rnnzoo.training.build import auto_class
from tests.support.hub import connect, environment, files_of
from tests.support.hub_server import Hub, Repository, validates_here


ROOT = Path(__file__).parents[2]
RUNS = {folder.name: run for folder, run in zoo.checkpoints().items()}
FOLDERS = {name: ROOT / "model_cards" / name for name in RUNS}
QUICK = ("lstm-glove-conll2003",)  # to evaluate: seconds
MEGABYTES = {"imdb": 4, "distil": 4, "ner": 8, "music": 8}
FILES = {"README.md", "config.json", "history.png", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
WRITES = {"generation_config.json"}  # what a model that writes texts has besides

every = pytest.mark.parametrize("name", FOLDERS)


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """All checkpoints as their repositories on the Hub have them."""
    into = tmp_path_factory.mktemp("staged")
    stage.main(str(into))
    return {name: into / name for name in FOLDERS}


def files(name):
    """The files of a folder."""
    return FILES | WRITES if RUNS[name]["kind"] == "text-generation" else FILES


# ---- what there is ----


def test_there_are_the_families_the_book_and_a_tagger():
    assert {"rnn-imdb", "birnn-imdb", "lstm-imdb", "gru-imdb", "book-lstm-imdb"} < set(FOLDERS)
    assert {run["task"] for run in RUNS.values()} == {"imdb", "distil", "ner"}


def test_all_that_is_said_of_them_is_what_the_results_say():
    for path, text in zoo.texts().items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is out of date: make report"


@every
def test_a_folder_is_small_and_has_these_files_and_no_others(name):
    folder, run = FOLDERS[name], RUNS[name]
    assert {path.name for path in folder.iterdir()} == files(name)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MEGABYTES[run["task"]] * 1_000_000
    assert run["weights_bytes"] == (folder / "model.safetensors").stat().st_size
    assert run["dataset"]["name"] != "made" and "dirty" not in run["git_commit"]


@every
def test_weights_are_stored_in_fp16_and_computed_with_in_fp32(name):
    stored, run = load_file(FOLDERS[name] / "model.safetensors"), RUNS[name]
    assert {weight.dtype for weight in stored.values()} == {torch.float16}
    model = auto_class(task_of(run)).from_pretrained(FOLDERS[name])
    assert sum(weight.numel() for weight in stored.values()) == run["num_parameters"] == model.num_parameters()
    for key, weight in model.state_dict().items():
        assert weight.dtype == torch.float32 and torch.equal(weight, stored[key].float())
    assert AutoModel.from_pretrained(FOLDERS[name]).dtype == torch.float32
    if run["task"] == "imdb":
        half = run["metrics"]["validation"]["accuracy"]
        full = run["history"][run["best_epoch"] - 1]["validation"]["accuracy"]
        assert abs(half - full) <= 0.0004, "two of 5,000 examples"


# ---- staged ----


@every
def test_a_staged_folder_has_the_code_that_saving_writes_and_its_results(name, staged, tmp_path):
    auto_class(task_of(RUNS[name])).from_pretrained(FOLDERS[name]).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(FOLDERS[name]).save_pretrained(tmp_path)
    saved, found = files_of(tmp_path), files_of(staged[name])
    code = {file: content for file, content in saved.items() if file.endswith(".py")}
    assert code and found.keys() == files(name) | code.keys() | {"results.json"}
    assert all(found[file] == content for file, content in (files_of(FOLDERS[name]) | code).items())
    assert json.loads(found["results.json"]) == RUNS[name]


def test_staging_again_replaces_what_was_staged(tmp_path):
    folder = FOLDERS["book-lstm-imdb"]
    (stage.stage(folder, RUNS[folder.name], tmp_path) / "old.py").touch()
    assert not (stage.stage(folder, RUNS[folder.name], tmp_path) / "old.py").exists()


def test_a_checkpoint_without_results_is_named(tmp_path, monkeypatch):
    (tmp_path / "model_cards" / "painting").mkdir(parents=True)
    (tmp_path / "model_cards" / "painting" / "config.json").touch()
    monkeypatch.setattr(zoo, "ROOT", tmp_path)
    with pytest.raises(RecipeError, match="painting has no results: .* --hub_model_id rnnzoo/painting"):
        zoo.checkpoints()


# ---- the list ----


def test_models_are_listed_by_pattern():
    assert [found.name for found in rnnzoo.list_models()] == sorted(FOLDERS)
    assert [found.name for found in rnnzoo.list_models("*gru*")] == ["gru-imdb"]
    assert rnnzoo.list_models("*GRU*") == rnnzoo.list_models("nothing") == []
    for found in rnnzoo.list_models():
        run = RUNS[found.name]
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
    """The programs of a card: with pipeline(), with the model itself, and with remote code."""
    card = (FOLDERS[name] / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.+?)^```", card, re.DOTALL | re.MULTILINE)
    assert len(found) == len(re.findall("^```python", card, re.MULTILINE)) == 3
    return found


def rounded(text):
    """What was printed, without the digits that rounding decides."""
    return re.sub(r"\d\.\d+", lambda number: f"{float(number[0]):.4f}", text)


REMOTE = """
import json
import sys
from contextlib import redirect_stdout
from io import StringIO

from transformers import Pipeline

sys.modules["rnnzoo"] = None  # an import of it fails
printed = {}
for name, block in json.load(open(sys.argv[1])).items():
    known = {}
    with redirect_stdout(StringIO()) as out:
        exec(block, known)
    printed[name] = out.getvalue()
    (pipe,) = [value for value in known.values() if isinstance(value, Pipeline)]
    remote = [type(pipe.model)] + [type(pipe.tokenizer)] * (pipe.task == "token-classification")
    assert all(each.__module__.startswith("transformers_modules.") for each in remote), remote
print("\\n" + json.dumps(printed))
"""


@validates_here
def test_the_hub_accepts_the_cards(tmp_path, monkeypatch):
    with Hub() as hub:
        connect(monkeypatch, hub, tmp_path / "cache")
        for folder in FOLDERS.values():
            ModelCard.load(folder / "README.md").validate()


def test_the_programs_of_the_cards_run_with_and_without_rnnzoo(staged, tmp_path, monkeypatch):
    """From a Hub: without rnnzoo, the model and a tagger's tokenizer are those of the code beside the weights."""
    printed = {}
    with Hub() as hub:
        connect(monkeypatch, hub, tmp_path / "cache")
        for name, folder in staged.items():
            hub.repositories[f"rnnzoo/{name}"] = repository = Repository("rnnzoo", private=False)
            repository.commit("main", files_of(folder))
            with redirect_stdout(StringIO()) as out:
                exec(blocks(name)[0], {})
            printed[name] = out.getvalue()
            with redirect_stdout(StringIO()) as out:
                exec(blocks(name)[1], {})
            printed_by_model = out.getvalue()
            example = RUNS[name]["description"]["example"]
            assert printed_by_model.startswith(example) or "tensor" in printed_by_model
        (tmp_path / "blocks.json").write_text(json.dumps({name: blocks(name)[2] for name in FOLDERS}))
        child = subprocess.run(
            [sys.executable, "-c", REMOTE, str(tmp_path / "blocks.json")],
            cwd=tmp_path, env=environment(hub, tmp_path / "home", HF_TOKEN=""),
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
    assert child.returncode == 0, child.stderr[-3000:]
    remote = json.loads(child.stdout.splitlines()[-1])
    assert {name: rounded(text) for name, text in remote.items()} == {
        name: rounded(text) for name, text in printed.items()
    }


# ---- what the cards say of the entire test split ----


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FOLDERS]
)
def test_the_pipeline_has_the_scores_of_the_card(name):
    assert eval_zoo.differing(FOLDERS[name]) == []


@pytest.mark.parametrize("name", ["lstm-imdb", "lstm-glove-conll2003"])
def test_a_score_that_is_not_that_of_the_card_is_named(name, monkeypatch, capsys):
    run = RUNS[name]
    metric, measured = run["description"]["metric"], run["metrics"]["test"] | {"a later metric": 0.5}
    monkeypatch.setattr(task_of(run), "load", lambda dataset, **_: Corpus("here", "here", [], {}))
    monkeypatch.setattr(eval_zoo, "score", lambda task, folder: measured)
    eval_zoo.main([str(FOLDERS[name])])
    measured[metric] += 0.0001
    with pytest.raises(SystemExit, match=f"error: {name} has {metric} "):
        eval_zoo.main([str(FOLDERS[name])])
    assert f"{name}: {metric} {measured[metric]:.4f}, on its card" in capsys.readouterr().out


def test_a_folder_that_is_not_known_is_refused_with_its_name(tmp_path):
    shutil.copytree(FOLDERS["book-lstm-imdb"], tmp_path / "copy")
    for folder in (tmp_path / "copy", tmp_path / "nowhere"):
        with pytest.raises(
            RecipeError, match=f"{folder.name} has no results.json, and is not a folder of model_cards/"
        ):
            eval_zoo.main([str(folder)])
