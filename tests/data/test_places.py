"""Places: the catalog's names, $RNNZOO_DATA, folders and the Hub; what is not there is named, with the way out."""

import hashlib
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from rnnzoo.data import places, sentences, texts
from rnnzoo.data.catalog import KNOWN
from rnnzoo.data.columns import Columns
from rnnzoo.data.errors import DataError
from tests.support import data_files
from tests.support.data_files import write


ROOT = Path(__file__).parents[2]
TASKS = {
    "texts": (texts, "imdb", data_files.texts(20), data_files.texts(6)),
    "sentences": (sentences, "conll2003", data_files.sentences(20), data_files.sentences(6)),
}


@pytest.fixture(params=TASKS.values(), ids=TASKS)
def task(request):
    """A task's module, its known data set, and columns of a train and of a test split."""
    return request.param


def refused(task, folder, message):
    """Whole and lazily, with the same words."""
    said = []
    for read in (task[0].load, task[0].stream):
        with pytest.raises(DataError, match=message) as caught:
            read(task[1], str(folder), seed=0)
        said.append(str(caught.value))
    assert said[0] == said[1] and "\n" not in said[0]


# ---- the catalog ----


def test_the_catalog_is_complete_and_the_only_place_that_spells_its_ids():
    for name, known in KNOWN.items():
        assert known.about and known.language, name
        assert set(known.aliases.values()) <= set(known.labels or [])
        if published := known.published:
            assert published["test_rows"] and {len(row) for row in published["rows"]} == {len(published["columns"])}
        if known.hub is None:  # it is in $RNNZOO_DATA, or nowhere
            continue
        assert known.hub.count("/") == 1, name
        for file in Path(places.__file__).parent.rglob("*.py"):
            assert known.hub not in file.read_text(encoding="utf-8"), file


# ---- $RNNZOO_DATA ----


def test_auto_and_known_names_take_rnnzoo_data(tmp_path, monkeypatch, task):
    module, name, train, test = task
    monkeypatch.setenv("RNNZOO_DATA", str(tmp_path))
    for known in (name, "wnut_17", "my-own"):
        write(tmp_path / known, train=train, validation=test, test=test)
    asked = {(name, "auto"): name, ("my-own", "auto"): "my-own", (name, name): name, (name, "wnut_17"): "wnut_17"}
    for (default, dataset), found in asked.items():
        for read in (module.load, module.stream):
            if module is texts and found != name and read is texts.stream:
                continue  # whose class names are unknown
            corpus = read(default, dataset, seed=0)
            assert (corpus.name, corpus.source) == (found, f"$RNNZOO_DATA/{found}")
            assert len(corpus.splits["test"]) == 6
    assert places.reachable(name)


def test_rnnzoo_data_without_the_folder_is_an_error(tmp_path, monkeypatch, task):
    monkeypatch.setenv("RNNZOO_DATA", str(tmp_path))
    refused(task, "auto", f"no folder '{task[1]}' in it.*--dataset made")
    refused(task, "wnut_17", "no folder 'wnut_17' in it.*--dataset made")
    with pytest.raises(DataError, match=f"no folder '{task[1]}' in it"):
        places.reachable(task[1])


# ---- folders ----


@pytest.mark.parametrize(
    "validation, test", [("validation", "test"), ("valid", "testb"), ("dev", "test"), ("testa",) * 2]
)
def test_names_of_splits(tmp_path, task, validation, test):
    module, name, train, rows = task
    test = "testb" if test == "testa" else test
    folder = write(
        tmp_path / "mine", train=train, **{validation: rows, test: data_files.texts(4) if module is texts else rows}
    )
    splits = module.load(name, str(folder), seed=0).splits
    assert list(splits) == ["train", "validation", "test"]
    assert (len(splits["train"]), len(splits["validation"])) == (20, 6)


def test_other_files_and_columns_are_ignored(tmp_path, task):
    module, name, train, rows = task
    folder = write(tmp_path / "mine", train=train | {"id": list(range(20))}, dev=rows, test=rows, unsupervised=rows)
    (folder / "README.md").write_text("mine")
    corpus = module.load(name, str(folder), seed=0)
    assert (corpus.name, corpus.source) == ("mine", "folder mine")
    assert set(corpus.splits) == {"train", "validation", "test"} and "id" not in corpus.splits["train"].column_names


@pytest.mark.parametrize("missing", ["train", "test"])
def test_train_and_test_are_needed(tmp_path, task, missing):
    splits = {split: task[3] for split in ("train", "validation", "test") if split != missing}
    refused(task, write(tmp_path / "mine", **splits), f"has no {missing} split, only: ")


def test_folders_without_a_data_set_are_refused(tmp_path, task):
    (tmp_path / "empty").mkdir()
    refused(task, tmp_path / "empty", "no data set that can be read, but nothing. A data set")
    refused(task, write(tmp_path / "odd", other=task[3]), r"but other.parquet\. A data set")
    refused(task, tmp_path / "absent", "must be a folder, a file or a Hub id, but it is not there")
    refused(task, "absent.csv", "must be a folder, a file or a Hub id, but it is not there")
    (tmp_path / "odd" / "notes.md").write_text("mine")
    refused(task, tmp_path / "odd" / "notes.md", "The file 'notes.md' is of no format that is read here. A data set")
    (tmp_path / "odd" / "notes.md").unlink()
    write(tmp_path / "odd", train=task[2], test=task[3], testb=task[3])
    refused(task, tmp_path / "odd", "test split more than once: test.parquet, testb.parquet")


@pytest.mark.parametrize("content", [b"{", b'{"0": "bad"}', b"[0, 1]", b'["good", "good"]', b"\xff"])
def test_labels_json_must_be_a_list_of_names(tmp_path, task, content):
    folder = write(tmp_path / "mine", train=task[2], test=task[3])
    (folder / "labels.json").write_bytes(content)
    refused(task, folder, "^labels.json of the folder 'mine'")


def test_changed_files_are_read_again_and_nothing_is_cached(tmp_path, task):
    module, name, train, rows = task
    folder, column = write(tmp_path / "mine", train=train, test=rows), {texts: "text"}.get(module, "tokens")
    stamp = os.stat(folder / "test.parquet")
    cached = set(Path(datasets.config.HF_DATASETS_CACHE).rglob("*"))
    before = module.load(name, str(folder), seed=0).splits["test"][column][:]
    write(folder, test={key: values[::-1] for key, values in rows.items()})
    os.utime(folder / "test.parquet", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    corpus = module.load(name, str(folder), seed=0)
    assert corpus.splits["test"][column][:] == before[::-1] != before
    corpus.splits.map(lambda row: {"length": len(row[column])})
    assert set(Path(datasets.config.HF_DATASETS_CACHE).rglob("*")) == cached


# ---- the Hub ----


def test_without_data_the_synthetic_set_is_named(task):
    assert not places.reachable(task[1])
    for dataset in ("auto", "wnut_17", "nobody/nothing"):
        known = KNOWN.get(task[1] if dataset == "auto" else dataset)
        refused(task, dataset, f"'{known.hub if known else dataset}' is neither a folder here, .*--dataset made")
    assert huggingface_hub.constants.HF_HUB_OFFLINE and datasets.config.HF_HUB_OFFLINE


def test_the_hub_is_asked_once_for_files_of_a_revision(monkeypatch):
    asked = []

    class Hub:
        def dataset_info(self, hub_id, revision, timeout):
            asked.append((hub_id, revision))

    names = ["O", "B-LOC", "never seen"]
    columns = {"tokens": [["Bonn", "is"]] * 3, "ner_tags": [[1, 0]] * 3, "id": [1, 2, 3]}

    def load_dataset(hub_id, revision, streaming):
        asked.append((hub_id, revision, streaming))
        features = Features(
            {"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names)), "id": Value("int64")}
        )
        part = Dataset.from_dict(columns, features=features)
        part = part.to_iterable_dataset() if streaming else part
        return {split: part for split in ("test", "train", "validation", "other")}

    monkeypatch.setattr(places, "HfApi", Hub)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for dataset, name, hub_id, revision in (
        ("auto", "conll2003", "eriktks/conll2003", "refs/convert/parquet"),
        ("wnut_17", "wnut_17", "leondz/wnut_17", "refs/convert/parquet"),
        ("some/one", "some/one", "some/one", None),
    ):
        for read in (sentences.load, sentences.stream):
            asked.clear()
            corpus = read("conll2003", dataset, seed=0)
            assert asked == [(hub_id, revision), (hub_id, revision, read is sentences.stream)]
            assert (corpus.name, corpus.source, corpus.labels) == (name, f"Hub: {hub_id}", ["O", "B-LOC", "I-LOC"])
            train = list(corpus.read()) if corpus.read else list(corpus.splits["train"])
            assert (
                train == list(corpus.splits["validation"]) == [{"tokens": ["Bonn", "is"], "tags": ["B-LOC", "O"]}] * 3
            )


def test_a_table_on_the_hub_has_its_columns_found_and_is_divided(monkeypatch):
    columns = {"id": range(30), "Review": [f"film {i}" for i in range(30)], "stars": [5, 1, None] * 10}

    def load_dataset(hub_id, revision, streaming):
        rows = Dataset.from_dict(columns)
        # A stream of the Hub may not know its columns before it is read.
        return {"train": rows.to_iterable_dataset().map(dict) if streaming else rows}

    monkeypatch.setattr(places, "HfApi", lambda: SimpleNamespace(dataset_info=lambda *args, **options: None))
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    whole, lazy = (
        read("imdb", "some/one", seed=0, columns=Columns(drop_incomplete=True)) for read in (texts.load, texts.stream)
    )
    assert whole.labels == lazy.labels == ["1", "5"] and whole.remarks == lazy.remarks
    assert "Columns: Review is read as text, stars is read as label." in whole.remarks
    assert "Left out of the train split (Hub: some/one): 10 rows have no label." in whole.remarks
    assert {split: len(part) for split, part in whole.splits.items()} == {"train": 16, "validation": 2, "test": 2}
    assert list(whole.splits["train"]) == list(lazy.read())
    assert all(whole.splits[split].to_dict() == lazy.splits[split].to_dict() for split in ("validation", "test"))


class HubOnLoopback(BaseHTTPRequestHandler):
    """As much of the Hub as it takes to download one data set, whose files are in `self.server.files`."""

    def do_GET(self):
        files, commit = self.server.files, "c" * 40
        route, _, path = self.path.partition("?")[0].partition("/stanfordnlp/imdb")
        if (route, path[:9]) == ("/datasets", "/resolve/"):
            body = files.get(path.split("/", 3)[3])
            headers = {"X-Error-Code": "EntryNotFound"}
            if body is not None:
                headers = {"ETag": hashlib.sha1(body).hexdigest(), "X-Repo-Commit": commit}
        elif (route, path[:6]) == ("/api/datasets", "/tree/"):
            tree = [{"type": "file", "path": p, "size": len(b), "oid": p} for p, b in files.items()]
            body, headers = json.dumps(tree).encode(), {}
        elif route == "/api/datasets":
            body, headers = json.dumps({"id": "stanfordnlp/imdb", "sha": commit}).encode(), {}
        else:
            body, headers = None, {"X-Error-Code": "RepoNotFound"}
        self.send_response(404 if body is None else 200)
        for key, value in {"Content-Length": len(body or b""), **headers}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body or b"")

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


def test_the_hub_then_its_copy_in_the_cache(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    for split, unlabelled in {"train": False, "test": False, "unsupervised": True}.items():
        columns = data_files.texts(20) | ({"label": [-1] * 20} if unlabelled else {})
        Dataset.from_dict(columns, features=features).to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubOnLoopback)
    server.files = {path.name: path.read_bytes() for path in tmp_path.glob("*.parquet")}
    server.files["README.md"] = (
        "---\nconfigs:\n- config_name: plain_text\n  data_files:\n"
        + "".join(f"  - {{split: {split}, path: {split}-*}}\n" for split in ("train", "test", "unsupervised"))
        + "---\n"
    ).encode()
    code = (
        "import json, os; from rnnzoo.data import places, texts; there = places.reachable('imdb')\n"
        "corpus = texts.load('imdb', seed=0)\n"
        "if 'STREAM' in os.environ:\n"
        "    stream = texts.stream('imdb', seed=4)\n"
        "    rows = [*stream.read(), *stream.splits['validation']]\n"
        "    loaded = [*corpus.splits['train'], *corpus.splits['validation']]\n"
        "    assert sorted(r['text'] for r in rows) == sorted(r['text'] for r in loaded)\n"
        "    assert stream.labels == corpus.labels and len(stream.splits['test']) == 20\n"
        "print(json.dumps([there, corpus.source, corpus.labels, {s: len(p) for s, p in corpus.splits.items()}]))\n"
        "try: texts.load('imdb', 'no/such', seed=0)\n"
        "except ValueError as error: print(error)"
    )
    # The addresses are read at import: hence processes of their own, with an empty cache of their own.
    unset = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_DATASETS_CACHE", "HF_HUB_CACHE")
    env = {key: value for key, value in os.environ.items() if key not in unset} | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }

    def answers():
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found, error = done.stdout.splitlines()
        return json.loads(found), error

    expected = [
        True,
        "Hub: stanfordnlp/imdb",
        ["negative", "positive"],
        {"train": 16, "validation": 4, "test": 20},
    ]
    Thread(target=server.serve_forever, daemon=True).start()
    env["STREAM"] = "1"
    found, error = answers()
    del env["STREAM"]
    assert found == expected
    assert "'no/such'" in error and "RepositoryNotFoundError" in error
    server.shutdown()
    server.server_close()
    found, error = answers()
    assert found == expected
    assert "'no/such'" in error and "refused" in error


# ---- the extra [train] ----


def test_without_the_extra_an_import_names_it():
    code = (
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name: None if name in ('datasets', 'yaml') else find(name)\n"
        "try: import rnnzoo.data.schemes\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "not installed (datasets, yaml): pip install 'rnnzoo[train]'" in done.stdout


def test_what_an_import_needs_is_what_the_extra_brings():
    from importlib.metadata import packages_distributions

    import rnnzoo.data

    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("\ntrain = [")[1].split("]")[0]
    extra = {line.split(">=")[0].strip(' "') for line in listed.splitlines() if ">=" in line}
    brought = packages_distributions()
    assert {brought[name][0].lower() for name in rnnzoo.data.NEEDED} == extra
