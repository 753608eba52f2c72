"""Push and pull, with a Hub on loopback: runs, models and tokenizers, with rnnzoo and without."""

import io
import json
import pickle
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch
from huggingface_hub import HfApi, ModelCard, close_session, constants
from huggingface_hub.errors import HfHubHTTPError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

import rnnzoo
from recipes.imdb import TASK as IMDB
from recipes.ner import TASK as NER
from recipes.report import runs as report
from rnnzoo.data.errors import RecipeError
from rnnzoo.training.build import build
from rnnzoo.training.options import incidental
from rnnzoo.training.run import parse
from tests.conftest import HEADS, SMALL
from tests.support.checkpoints import Code
from tests.support.hub import UPLOADS, connect, environment, files_of
from tests.support.hub_server import READS, WRITES, Hub, validates_here
from tests.support.recipes import answered_here, run


pytestmark = UPLOADS

ROOT = Path(__file__).parents[2]

MODEL = {"model_type": "rnnzoo-lstm", "embedding_size": 8, "hidden_size": 8, "bidirectional": True}
BRIEF = {"batch_size": 32, "max_train_steps": 4, "verify_rows": 5, "num_threads": 1}
CLASSIFIER = {"model": MODEL | {"pooling": "attention"}, "tokenizer": {"vocab_size": 200}, **BRIEF}
TAGGER = {"model": MODEL | {"character_size": 4, "use_crf": True}, "tokenizer": {"vocab_size": 200}, **BRIEF}
TASKS = {"you/classifier": "text-classification", "you/tagger": "token-classification"}
TEXTS = ["a film that stays with you", "", "Ada met Babbage (in London)."]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty Hub to which this process may write."""
    with Hub() as hub:
        connect(monkeypatch, hub, tmp_path / "cache")
        yield hub
        close_session()


@pytest.fixture(autouse=True)
def served_here(served_here):
    """Every run here compares with a pipeline in this process."""


def weights_equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ---- a recipe pushes its results ----


@pytest.fixture(scope="module")
def published(tmp_path_factory, reviews, sentences):
    """A Hub with a classifier and a tagger, pushed by the recipes; their folders; and what was printed."""
    folder, said = tmp_path_factory.mktemp("runs"), io.StringIO()
    with Hub() as hub, pytest.MonkeyPatch.context() as patch:
        connect(patch, hub, folder / "cache")
        patch.setattr("rnnzoo.training.parity.answers", answered_here)
        (folder / "classifier" / "tracked").mkdir(parents=True)
        for mine in ("notes.txt", "tracked/events"):
            (folder / "classifier" / mine).write_text("not of the run")
        with redirect_stdout(said), redirect_stderr(said):
            run(IMDB, folder / "classifier", reviews, **CLASSIFIER, push_to_hub=True)
            run(NER, folder / "out", sentences, **TAGGER, push_to_hub=True, hub_model_id="you/tagger")
        patch.undo()
        close_session()
        yield hub, {"you/classifier": folder / "classifier", "you/tagger": folder / "out"}, said.getvalue()


@pytest.mark.parametrize("name", ["you/classifier", "you/tagger"])
def test_the_files_of_a_run_are_pushed_as_one_commit(published, name):
    hub, folders, said = published
    repository, written = hub.repositories[name], files_of(folders[name])
    written.pop("notes.txt", None)
    assert repository.files == written and {"model.safetensors", "modeling_rnnzoo.py", "README.md"} < set(written)
    first, last = repository.commits
    assert set(repository.commits[first]) == {".gitattributes"}
    assert f"pushed: {hub.url}/{name}/commit/{last}\n" in said
    assert not repository.private
    assert json.loads(written["results.json"])["config"]["hub_model_id"] == name


def test_the_card_on_the_hub_has_metadata_scores_and_usage(published, monkeypatch, tmp_path):
    hub, folders, _ = published
    connect(monkeypatch, hub, tmp_path)
    for name, task in TASKS.items():
        card = ModelCard.load(name)
        assert card.data.pipeline_tag == task and card.data.library_name == "transformers"
        test = json.loads((folders[name] / "results.json").read_text())["metrics"]["test"]
        found = {result.metric_type: result.metric_value for result in card.data.eval_results}
        assert found and found.items() <= test.items()
        assert f'pipeline("{task}", model="{name}"' in card.text and "trust_remote_code=True" in card.text
        assert HfApi().model_info(name).pipeline_tag == task


@validates_here
def test_the_hub_accepts_the_card(published, monkeypatch, tmp_path):
    connect(monkeypatch, published[0], tmp_path)
    for name in TASKS:
        ModelCard.load(name).validate()


def test_the_token_is_in_no_file_and_no_output(published):
    hub, folders, said = published
    assert "pushed" in said and WRITES not in said
    for folder in folders.values():
        assert not any(WRITES.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    trees = [tree for repository in hub.repositories.values() for tree in repository.commits.values()]
    assert not any(WRITES.encode() in data for tree in trees for data in tree.values())


def test_a_private_model_is_invisible_without_a_token(hub, tmp_path, reviews):
    run(IMDB, tmp_path / "mine", reviews, **CLASSIFIER, push_to_hub=True, hub_private=True)
    assert hub.repositories["you/mine"].private
    with pytest.raises(HfHubHTTPError):
        HfApi(token=False).model_info("you/mine")


# ---- what is refused before any training ----


def no_token(hub, patch):
    patch.delenv("HF_TOKEN")


def token(value):
    return lambda hub, patch: patch.setenv("HF_TOKEN", value)


def stopped(hub, patch):
    hub.shutdown()
    hub.server_close()
    close_session()  # which has a connection


def offline(hub, patch):
    patch.setattr(constants, "HF_HUB_OFFLINE", True)


def broken(hub, patch):
    hub.refusals["whoami"] = (500, f"This server repeats what it was sent: {WRITES}")


REFUSED = {
    "no token": (no_token, {}, "there is no token for the Hub. Log in with `hf auth login`, or set HF_TOKEN"),
    "unknown token": (token("hf_nobodys"), {}, "the Hub rejects the token .* Log in with `hf auth login`"),
    "no token's characters": (token("hf_é"), {}, "HF_HUB_OFFLINE and the token"),
    "reads only": (token(READS), {}, "no write access to you/out .* Log in with one that has, or .* --hub_model_id"),
    "reads only, and it is there": (token(READS), {"hub_model_id": "you/old"}, "no write access to you/old"),
    "another's": (token(WRITES), {"hub_model_id": "others/old"}, "no write access to others/old"),
    "another's, and it is not there": (token(WRITES), {"hub_model_id": "others/new"}, "no write access to others/new"),
    "public": (token(WRITES), {"hub_model_id": "old", "hub_private": True}, "hub_private is .* you/old is public"),
    "no server": (stopped, {}, "cannot be reached .*Check the network, HF_ENDPOINT, HF_HUB_OFFLINE"),
    "offline": (offline, {}, "cannot be reached .*offline mode.*Check the network, HF_ENDPOINT, HF_HUB_OFFLINE"),
    "server error": (broken, {}, "the Hub refused out .*repeats what it was sent: <token>"),
    "no id": (token(WRITES), {"hub_model_id": "a/b/c"}, "'a/b/c' is not a valid repository id .*Give --hub_model_id"),
    "no id either": (token(WRITES), {"hub_model_id": "you/a--b"}, "'you/a--b' is not a valid repository id"),
    "an id alone": (token(WRITES), {"push_to_hub": False, "hub_model_id": "a/b/c"}, "'a/b/c' is not a valid"),
}


@pytest.mark.parametrize(("change", "options", "says"), REFUSED.values(), ids=REFUSED)
def test_a_run_that_cannot_be_pushed_is_not_trained(hub, tmp_path, reviews, monkeypatch, change, options, says):
    api = HfApi()
    api.create_repo("you/old")
    hub.tokens["hf_of_others"] = ("others", True)
    HfApi(token="hf_of_others").create_repo("others/old")
    change(hub, monkeypatch)
    monkeypatch.setattr("rnnzoo.training.run.train", lambda *args: pytest.fail("the training began"))
    with pytest.raises(RecipeError, match=says) as caught:
        run(IMDB, tmp_path / "out", reviews, **CLASSIFIER, **{"push_to_hub": True} | options)
    assert "\n" not in str(caught.value)
    assert not any(token in str(caught.value) for token in (WRITES, READS, "hf_nobodys"))
    assert not list((tmp_path / "out").rglob("*")) and set(hub.repositories) == {"you/old", "others/old"}


def test_the_name_of_a_folder_may_not_be_a_repository_id(hub, tmp_path, reviews):
    with pytest.raises(RecipeError, match="'no id' is not a valid repository id .*the name of output_dir"):
        run(IMDB, tmp_path / "no id", reviews, **CLASSIFIER, push_to_hub=True)


# ---- a push that fails, and seeds pushed elsewhere ----


@pytest.mark.parametrize(("route", "status"), [("/commit/", 503), ("^/lfs/", 403)])
def test_a_push_that_fails_loses_nothing(hub, tmp_path, reviews, route, status):
    folder = tmp_path / "my out"
    (folder / "tracked").mkdir(parents=True)
    (folder / "tracked" / "events").write_text("not of the run")
    hub.refusals[route] = (status, f"This server repeats what it was sent: {WRITES}")
    with pytest.raises(RecipeError, match=f"my out is complete, but was not pushed: .*{status}.*<token>") as caught:
        run(IMDB, folder, reviews, **CLASSIFIER, push_to_hub=True, hub_model_id="mine")
    assert "\n" not in str(caught.value) and WRITES not in str(caught.value)
    written = files_of(folder)
    assert "results.json" in written and hub.repositories["you/mine"].files == {}

    hub.refusals.clear()
    command = shlex.split(str(caught.value).partition("Then push it: ")[2])
    assert command[:3] == ["hf", "upload", "you/mine"]
    hf = Path(sys.executable).parent / "hf"
    done = subprocess.run([hf, *command[1:]], env=environment(hub, tmp_path / "home"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert hub.repositories["you/mine"].files == written


def test_runs_pushed_to_different_places_are_seeds_of_one_model(published):
    _, folders, _ = published
    first = json.loads((folders["you/classifier"] / "results.json").read_text())
    assert first["incidental_options"] == incidental(IMDB.Options)  # a reader of results.json needs no list of its own
    pushed = {"seed": 1, "push_to_hub": False, "hub_model_id": None, "hub_private": True}
    second = first | {"model": "classifier-1", "seed": 1, "config": first["config"] | pushed}
    (model,) = report.models([first | {"model": "classifier-0"}, second])
    assert len(model.runs) == 2


# ---- models and tokenizers push themselves ----


@pytest.mark.parametrize(
    "head", [head for head in HEADS if head.name == head.family], ids=lambda head: head.family + head.auto.__name__[4:]
)
def test_every_head_is_pulled_as_it_was_pushed(hub, head, tokenizer):
    model = head.model()
    model.push_to_hub("you/model")
    tokenizer.push_to_hub("you/model")
    back = head.auto.from_pretrained("you/model").eval()
    assert type(back) is type(model) and weights_equal(back, model)
    batch = type(tokenizer).from_pretrained("you/model")(["a good film"], return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(back(**batch)[0], model(**batch)[0])
    assert len(hub.repositories["you/model"].commits) == 3


def classifier():
    return rnnzoo.LSTMForSequenceClassification(rnnzoo.LSTMConfig(**SMALL))


def pull(name="you/model", **options):
    return AutoModelForSequenceClassification.from_pretrained(name, **options)


def test_a_revision_has_the_weights_that_were_pushed_to_it(hub):
    old, new, draft = classifier(), classifier(), classifier()
    first = old.push_to_hub("you/model")
    new.push_to_hub("you/model")
    draft.push_to_hub("you/model", revision="draft")
    assert weights_equal(pull(), new)
    name = {"pretrained_model_name_or_path": "you/model"}  # by its keyword too
    assert weights_equal(rnnzoo.LSTMForSequenceClassification.from_pretrained(**name, revision=first.oid), old)
    assert weights_equal(pull(revision="draft"), draft)
    assert {branch.name for branch in HfApi().list_repo_refs("you/model").branches} == {"main", "draft"}
    with pytest.raises(OSError, match="not a valid git identifier"):
        pull(revision="f" * 40)


def test_a_repository_that_does_not_exist_is_named(hub):
    with pytest.raises(OSError, match="you/nothing is not a local folder and is not a valid model identifier"):
        pull("you/nothing")


def test_a_token_without_access_is_refused_and_not_repeated(hub, monkeypatch):
    classifier().push_to_hub("you/model", private=True)
    for given, says in {
        False: "a private repository.*hf auth login",
        "hf_nobodys": "you/model.*401.*credentials",
    }.items():
        with pytest.raises(OSError, match=f"(?s){says}") as caught:
            pull(token=given)
        assert "hf_nobodys" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", READS)
    assert pull()
    with pytest.raises(HfHubHTTPError, match="403.*rights to write") as caught:
        classifier().push_to_hub("you/model")
    assert READS not in str(caught.value)


# ---- downloads that go wrong ----


def cached(tmp_path):
    """Names of the weights files in the cache, complete or not."""
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    return [path.name for path in files if path.suffix == ".incomplete" or path.name == "model.safetensors"]


def test_an_interrupted_download_continues_where_it_stopped(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)  # else such a small file is one chunk
    model = classifier()
    model.push_to_hub("you/model")
    hub.cuts["model.safetensors"] = [500]
    assert weights_equal(pull(), model)
    assert [wanted for method, path, wanted in hub.requests if method == "GET" and path.endswith(".safetensors")] == [
        None,
        "bytes=500-",
    ]


def test_a_failed_download_is_repeated(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    model = classifier()
    model.push_to_hub("you/model")
    hub.cuts["model.safetensors"] = [500] + [0] * 9
    with pytest.raises(Exception, match="(?i)you/model|peer closed"):
        pull()
    assert cached(tmp_path) == []
    hub.cuts.clear()
    assert weights_equal(pull(), model)
    assert cached(tmp_path) == ["model.safetensors"]
    kept = (tmp_path / "cache").glob("models--you--model/snapshots/*/model.safetensors")
    assert [path.read_bytes() for path in kept] == [hub.repositories["you/model"].files["model.safetensors"]]


def test_a_file_smaller_than_announced_is_not_kept(hub, tmp_path):
    classifier().push_to_hub("you/model")
    hub.sizes["model.safetensors"] = 10_000
    with pytest.raises(OSError, match="should be of size 10000 but has size"):
        pull()
    assert cached(tmp_path) == []
    hub.sizes.clear()
    assert pull()


@pytest.mark.parametrize("share", [0.5, 0.01, 0])
def test_truncated_weights_are_not_loaded(hub, share):
    classifier().push_to_hub("you/model")
    repository = hub.repositories["you/model"]
    complete = repository.files["model.safetensors"]
    repository.commit("main", repository.files | {"model.safetensors": complete[: int(share * len(complete))]})
    with pytest.raises(OSError, match="The weights of you/model are damaged .*force_download=True"):
        pull()


@pytest.fixture(params=["tensors", "code"])
def pickled(request, tmp_path):
    """A checkpoint whose weights are a pickle, and a function that checks that it is refused and no code ran."""
    folder, model = tmp_path / "pickled", classifier()
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    if request.param == "code":
        torch.save(Code(tmp_path / "it ran"), folder / "pytorch_model.bin")
        # Without it in the configuration, transformers takes the dtype from the weights.
        config = json.loads((folder / "config.json").read_text())
        del config["dtype"]
        (folder / "config.json").write_text(json.dumps(config))
    else:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")

    def refused(says, name=folder, **options):
        # For code, torch has its own message.
        with pytest.raises((OSError, ValueError, UnpicklingError), match=rf"{says}|Weights only load failed"):
            pull(name, **options)
        assert not (tmp_path / "it ran").exists()

    return folder, refused


@pytest.mark.parametrize("options", [{}, {"use_safetensors": True}, {"use_safetensors": None}], ids=str)
def test_a_pickle_is_not_loaded(pickled, options):
    pickled[1]("no file named model.safetensors", **options)


@pytest.mark.parametrize("options", [{"use_safetensors": False}, {"weights_only": False}], ids=str)
def test_a_pickle_is_not_loaded_on_request(pickled, options):
    pickled[1]("rnnzoo loads weights from safetensors files only", **options)


def test_a_pickle_is_not_loaded_by_its_own_name(pickled):
    folder, refused = pickled
    refused("pytorch_model.bin is not a safetensors file", folder / "pytorch_model.bin", config=classifier().config)


def test_a_pickle_is_not_loaded_by_an_index_of_safetensors(pickled):
    folder, refused = pickled
    index = {"metadata": {}, "weight_map": dict.fromkeys(classifier().state_dict(), "pytorch_model.bin")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused("pytorch_model.bin is not a safetensors file")


def test_a_pickle_is_not_loaded_from_the_hub(hub, pickled):
    folder, refused = pickled
    HfApi().create_repo("you/model")
    hub.repositories["you/model"].commit("main", files_of(folder))
    refused("you/model does not appear to have a file named model.safetensors", "you/model")


USUAL_NAMES = [
    *("pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.bin", "model.pt", "model.pth", "model.ckpt"),
    *("training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state.pth"),
    *("random_states_0.pkl", "custom_checkpoint_0.pkl", "adapter_model.bin", "tf_model.h5", "flax_model.msgpack"),
    *("tokenizer.pkl", "vocab.pkl", "vocab.bin", "config.pkl", "data.pkl", "archive/data.pkl"),
]


@pytest.mark.filterwarnings("ignore:.*whose head does another task:UserWarning")
@pytest.mark.parametrize("name", TASKS)
def test_pickles_beside_good_weights_are_not_opened(published, tmp_path, name):
    folder = tmp_path / "folder"
    shutil.copytree(published[1][name], folder)
    for number, pickled in enumerate(USUAL_NAMES):
        (folder / pickled).parent.mkdir(exist_ok=True)
        if number % 2:
            torch.save(Code(tmp_path / "it ran"), folder / pickled)
        else:
            (folder / pickled).write_bytes(pickle.dumps(Code(tmp_path / "it ran")))
    index = {"metadata": {}, "weight_map": dict.fromkeys(classifier().state_dict(), "pytorch_model.bin")}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))

    opened, watching = [], [True]
    sys.addaudithook(lambda event, args: event == "open" and watching and opened.append(str(args[0])))  # for good
    ask = pipeline(TASKS[name], model=str(folder))
    ask("a film")
    # A network of two directions is no language model.
    for auto in {AutoConfig, AutoTokenizer, *rnnzoo.FAMILIES["LSTM"].models} - {AutoModelForCausalLM}:
        assert auto.from_pretrained(folder)
    task = IMDB if name == "you/classifier" else NER
    labels = list(ask.model.config.id2label.values())
    assert build(task, parse(task, ["--model_name_or_path", str(folder)]), labels, [])
    watching.clear()
    assert str(folder / "config.json") in opened and not {str(folder / part) for part in USUAL_NAMES} & set(opened)
    assert not (tmp_path / "it ran").exists()


# ---- fresh processes ----

PULL = """
import json
import sys
import warnings
from pathlib import Path

warnings.simplefilter("error")
way, question = sys.argv[1:]
if way == "installed":
    import rnnzoo
    options = {}
else:
    sys.modules["rnnzoo"] = None  # an import of it fails
    options = {"trust_remote_code": True}

import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer
from transformers import pipeline

heads = {"you/classifier": AutoModelForSequenceClassification, "you/tagger": AutoModelForTokenClassification}


def is_remote(thing):
    return type(thing).__module__.startswith("transformers_modules.")


asked = json.loads(Path(question).read_text())
if options:
    for name in heads:
        try:
            pipeline(model=name)
            raise AssertionError("code was run without permission")
        except ValueError as error:
            assert "trust_remote_code=True" in str(error), error
    assert not any(module.startswith("transformers_modules.") for module in sys.modules)

found = {}
for name, head in heads.items():
    ask = pipeline(model=name, device="cpu", **options)  # what for, the card says
    tokenizer = AutoTokenizer.from_pretrained(name, **options)
    batch = tokenizer(asked, padding=True, return_tensors="pt")
    with torch.no_grad():
        model, backbone = (auto.from_pretrained(name, **options) for auto in (head, AutoModel))
        logits, states = model(**batch).logits, backbone(**batch).last_hidden_state
    for thing in (ask.model, model, backbone):
        assert is_remote(thing) == bool(options), type(thing)
    # Only a tagger's tokenizer is code of its own.
    own = name == "you/tagger"
    assert is_remote(tokenizer) == is_remote(ask.tokenizer) == (own and bool(options)), type(tokenizer)
    assert (type(tokenizer).__name__ == "CharacterTokenizer") == own
    found[name] = {"answers": ask(asked, batch_size=2), "logits": logits.tolist(), "states": states.tolist()}

if options:
    assert sys.modules["rnnzoo"] is None
else:
    assert not any(module.startswith("transformers_modules") for module in sys.modules)
print("\\n" + json.dumps(found, default=float))
"""


@pytest.fixture(scope="module")
def expected(published):
    """The answers of the two models in this process, from the folders that the recipes wrote."""
    _, folders, _ = published
    found = {}
    for name, task in TASKS.items():
        ask = pipeline(task, model=str(folders[name]))
        batch = ask.tokenizer(TEXTS, padding=True, return_tensors="pt")
        with torch.no_grad():
            logits, states = ask.model(**batch).logits, ask.model.backbone(**batch).last_hidden_state
        answers = ask(TEXTS, batch_size=2)
        found[name] = {"answers": answers, "logits": logits.tolist(), "states": states.tolist()}
    return json.loads(json.dumps(found, default=float), parse_float=lambda text: pytest.approx(float(text), abs=1e-6))


@pytest.mark.parametrize("way", ["installed", "not-installed"])
def test_a_pulled_model_answers_like_the_pushed_one(published, expected, tmp_path, way):
    (tmp_path / "asked.json").write_text(json.dumps(TEXTS))
    more = {"PYTHONPATH": str(ROOT)} if way == "installed" else {}
    child = subprocess.run(
        [sys.executable, "-c", PULL, way, str(tmp_path / "asked.json")],
        cwd=tmp_path, env=environment(published[0], tmp_path / "home", HF_TOKEN="", **more),
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-4000:]
    assert json.loads(child.stdout.splitlines()[-1]) == expected
