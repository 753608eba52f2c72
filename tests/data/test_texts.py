"""recipes.data: every source read for real, every fault in the data named before any work."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from rnnzoo.data import texts as data


ROOT = Path(__file__).parents[2]
# Kept here, because the tests take it out of the environment.
REAL_DATA = os.environ.get("RNNZOO_DATA", "")


@pytest.fixture(autouse=True)
def no_data_no_hub(monkeypatch):
    """Every test starts on a machine without data; both libraries read the variable at import only."""
    monkeypatch.delenv("RNNZOO_DATA", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def rows(count, classes=2, word="film"):
    return {"text": [f"{word} {i}" for i in range(count)], "label": [i % classes for i in range(count)]}


def write(folder, suffix="parquet", **splits):
    folder.mkdir(exist_ok=True)
    for split, columns in splits.items():
        table = pa.table(columns)
        path = folder / f"{split}.{suffix}"
        if suffix == "parquet":
            pq.write_table(table, path)
        elif suffix == "csv":
            pa.csv.write_csv(table, path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()), encoding="utf-8")
    return folder


def load(folder, **kwargs):
    return data.load("imdb", str(folder), **{"seed": 0} | kwargs)


GOOD = rows(10)


def refused(folder, message, **kwargs):
    with pytest.raises(data.DataError, match=message) as caught:
        load(folder, **kwargs)
    assert "\n" not in str(caught.value)


# ---- sources ----


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_folder(tmp_path, suffix):
    train = rows(20)
    train["text"][:4] = ['comma, "quotes"', "two\nlines", "NA", "café 👍"]
    folder = write(tmp_path / "mine", suffix, train=train, validation=rows(4), test=rows(6), unsupervised=rows(1))
    corpus = load(folder)
    assert (corpus.name, corpus.source, corpus.labels) == ("mine", "folder mine", ["0", "1"])
    assert {split: len(part) for split, part in corpus.splits.items()} == {"train": 20, "validation": 4, "test": 6}
    assert corpus.splits["train"].to_dict() == train
    features = Features({"text": Value("string"), "label": ClassLabel(names=["0", "1"])})
    assert all(part.features == features for part in corpus.splits.values())


def test_other_columns_and_integer_types_are_brought_into_one_form(tmp_path):
    columns = {
        "id": [7, 8, 9],
        "label": pa.array([1, 0, 1], pa.uint8()),
        "text": pa.array(["a", "", "c"], pa.large_string()),
    }
    part = load(write(tmp_path, train=columns, validation=columns, test=columns)).splits["test"]
    assert part.column_names == ["text", "label"]
    assert part.to_dict() == {"text": ["a", "", "c"], "label": [1, 0, 1]}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_row_may_be_longer_than_a_block(tmp_path, suffix):
    train = rows(4) | {"text": ["many words\n" * 250_000, "b", "c", "d"]}
    folder = write(tmp_path, suffix, train=train, validation=rows(2), test=rows(2))
    assert load(folder).splits["train"].to_dict() == train


def test_what_is_missing_from_a_csv_file(tmp_path):
    folder = write(tmp_path / "mine", train=GOOD, test=GOOD)
    (folder / "validation.csv").write_text('text,label\nNA,0\nnull,1\n"",1\n')
    assert load(folder).splits["validation"]["text"][:] == ["NA", "null", ""]
    (folder / "validation.csv").write_text("text,label\nNA,0\n,1\n")
    refused(folder, "Row 1 .* of the validation split .* has no text")


def test_class_names_from_labels_json(tmp_path):
    write(tmp_path, "csv", train=rows(20, classes=3), test=rows(3, classes=3))
    (tmp_path / "labels.json").write_text('["bad", "fair", "good", "never seen"]')
    assert load(tmp_path).labels == ["bad", "fair", "good", "never seen"]


def test_class_names_from_parquet(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["pos", "neg"])})
    for split in ("train", "test"):
        Dataset.from_dict(rows(20), features=features).to_parquet(tmp_path / f"{split}.parquet")
    corpus = load(tmp_path)
    # Written out, and in the order of the file: 0 is still the positive class.
    assert corpus.labels == ["positive", "negative"]
    assert corpus.splits["test"]["label"][:] == rows(20)["label"]


def acl_folder(root, count=5):
    for split in ("train", "test"):
        for part in ("neg", "pos", "unsup"):
            (root / split / part).mkdir(parents=True)
            for i in reversed(range(count)):
                (root / split / part / f"{i}_{i}.txt").write_bytes(f"{split} {part} {i}\r\n\x85é".encode())
    return root


def test_acl_folder(tmp_path):
    corpus = load(acl_folder(tmp_path / "aclImdb"))
    assert (corpus.name, corpus.source, corpus.labels) == ("aclImdb", "folder aclImdb", ["negative", "positive"])
    assert corpus.splits["test"].to_dict() == {
        "text": [f"test {part} {i}\r\n\x85é" for part in ("neg", "pos") for i in range(5)],
        "label": [0] * 5 + [1] * 5,
    }
    assert {split: len(part) for split, part in corpus.splits.items()} == {"train": 8, "validation": 2, "test": 10}
    assert list(corpus.splits) == ["train", "validation", "test"]


def test_auto_takes_rnnzoo_data(tmp_path, monkeypatch):
    write(tmp_path / "imdb", train=rows(20), test=rows(6))
    monkeypatch.setenv("RNNZOO_DATA", str(tmp_path))
    corpus = data.load("imdb", seed=0)
    assert (corpus.name, corpus.source, corpus.labels) == ("imdb", "$RNNZOO_DATA/imdb", ["negative", "positive"])
    assert data.reachable("imdb")


def test_rnnzoo_data_without_the_set_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("RNNZOO_DATA", str(tmp_path))
    for ask in (lambda: data.load("imdb", seed=0), lambda: data.reachable("imdb")):
        with pytest.raises(data.DataError, match="no folder 'imdb' in it"):
            ask()


def test_auto_without_data_names_the_made_set():
    assert not data.reachable("imdb")
    with pytest.raises(data.DataError, match="--dataset made"):
        data.load("imdb", seed=0)
    assert huggingface_hub.constants.HF_HUB_OFFLINE and datasets.config.HF_HUB_OFFLINE


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


def test_hub_then_its_cached_copy(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    for split, unlabelled in {"train": False, "test": False, "unsupervised": True}.items():
        columns = rows(20) | ({"label": [-1] * 20} if unlabelled else {})
        Dataset.from_dict(columns, features=features).to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubOnLoopback)
    server.files = {path.name: path.read_bytes() for path in tmp_path.glob("*.parquet")}
    server.files["README.md"] = (
        "---\nconfigs:\n- config_name: plain_text\n  data_files:\n"
        + "".join(f"  - {{split: {split}, path: {split}-*}}\n" for split in ("train", "test", "unsupervised"))
        + "---\n"
    ).encode()
    code = (
        "import json, os; from rnnzoo.data import texts as data, streams as streaming; there = data.reachable('imdb')\n"
        "corpus = data.load('imdb', seed=0)\n"
        "if 'STREAM' in os.environ:\n"
        "    stream = streaming.load('imdb', seed=4)\n"
        "    rows = [*stream.read(), *stream.splits['validation']]\n"
        "    loaded = [*corpus.splits['train'], *corpus.splits['validation']]\n"
        "    assert sorted(r['text'] for r in rows) == sorted(r['text'] for r in loaded)\n"
        "    assert stream.labels == corpus.labels and len(stream.splits['test']) == 20\n"
        "print(json.dumps([there, corpus.source, corpus.labels, {s: len(p) for s, p in corpus.splits.items()}]))\n"
        "try: data.load('imdb', 'no/such', seed=0)\n"
        "except data.DataError as error: print(error)"
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


def test_made():
    from rnnzoo.data.synthetic import reviews as made

    corpus = data.load("imdb", "made", seed=3)
    assert (corpus.name, corpus.source) == ("made", "made by this project (not IMDB)")
    assert corpus.labels == ["negative", "positive"]
    assert {split: part.to_dict() for split, part in corpus.splits.items()} == {
        split: part.select_columns(["text", "label"]).to_dict() for split, part in made.make_reviews(seed=0).items()
    }


def test_changed_files_are_read_anew_and_nothing_is_cached(tmp_path):
    folder = write(tmp_path / "mine", train=rows(20), test=rows(6))
    stamp = os.stat(folder / "test.parquet")
    cached = set(Path(datasets.config.HF_DATASETS_CACHE).rglob("*"))
    assert load(folder).splits["test"][0]["text"] == "film 0"
    write(folder, test=rows(6, word="play"))
    os.utime(folder / "test.parquet", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    corpus = load(folder)
    assert corpus.splits["test"][0]["text"] == "play 0"
    corpus.splits.map(lambda row: {"length": len(row["text"])})
    assert set(Path(datasets.config.HF_DATASETS_CACHE).rglob("*")) == cached


# ---- the cut ----


def test_the_cut_is_stratified_and_a_function_of_the_seed(tmp_path):
    train = {"text": [f"film {i}" for i in range(1000)], "label": [0] * 600 + [1] * 300 + [2] * 100}
    folder = write(tmp_path, train=train, test=rows(3, classes=3))
    splits = load(folder, seed=1).splits
    assert Counter(splits["train"]["label"]) == {0: 480, 1: 240, 2: 80}
    assert Counter(splits["validation"]["label"]) == {0: 120, 1: 60, 2: 20}
    both = [(row["text"], row["label"]) for split in ("train", "validation") for row in splits[split]]
    assert sorted(both) == sorted(zip(train["text"], train["label"], strict=True))
    again, other = load(folder, seed=1).splits, load(folder, seed=2).splits
    assert again["validation"].to_dict() == splits["validation"].to_dict()
    assert again["train"].to_dict() == splits["train"].to_dict()
    assert set(other["validation"]["text"]) != set(splits["validation"]["text"])
    assert len(load(folder, validation_fraction=0.5).splits["validation"]) == 500


def test_a_validation_split_of_its_own_is_kept(tmp_path):
    folder = write(tmp_path, train=rows(10), validation=rows(4), test=rows(4))
    splits = load(folder).splits
    assert splits["train"].to_dict() == rows(10) and splits["validation"].to_dict() == rows(4)


def test_a_validation_split_is_cut_anew_where_a_fraction_asks_for_it(tmp_path):
    train, validation = ({"text": [f"{name} {i}" for i in range(n)], "label": [0, 1] * (n // 2)}
                         for name, n in (("train", 80), ("validation", 20)))  # fmt: skip
    splits = load(write(tmp_path, train=train, validation=validation, test=rows(4)), validation_fraction=0.1).splits
    assert len(splits["train"]) == 90 and splits["validation"]["label"].count(1) == 5
    both = [text for split in ("train", "validation") for text in splits[split]["text"]]
    assert sorted(both) == sorted(train["text"] + validation["text"]) and splits["test"].to_dict() == rows(4)


# ---- faults ----

BAD_SPLITS = {
    "no text column": ({"review": ["a"], "label": [0]}, "no column 'text' in the train split .* only: review, label"),
    "no label column": ({"text": ["a"]}, "no column 'label' in the train split .* only: text"),
    "no rows": ({"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}, "no rows in the train split"),
    "null text": (GOOD | {"text": ["a"] * 7 + [None] * 3}, "Row 7 .* has no text"),
    "null label": (GOOD | {"label": [0, 1, None] + [1] * 7}, "Row 2 .* has no label"),
    "text is numbers": (GOOD | {"text": [*range(10)]}, "'text' .* holds int64, such as 0"),
    "labels are words": (GOOD | {"label": ["0"] * 4 + ["good"] * 6}, "labels .* are string, such as 'good' in row 4"),
    "labels are fractions": (GOOD | {"label": [0.5] * 10}, "labels .* are double, such as 0.5 in row 0"),
    "labels are bool": (GOOD | {"label": [True, False] * 5}, "labels .* are bool, such as True"),
    "negative label": (GOOD | {"label": [0, 1, 1, -1, 0] * 2}, "Row 3 .* label -1, but there are"),
    "labels from 1": (GOOD | {"label": [1, 2] * 5}, "labels of the train split .* are 1, 2: .* labels.json"),
    "one class": (GOOD | {"label": [0] * 10}, "Every row of the train split .* label 0"),
}


@pytest.mark.parametrize("columns, message", BAD_SPLITS.values(), ids=BAD_SPLITS)
def test_bad_rows_are_refused(tmp_path, columns, message):
    refused(write(tmp_path / "mine", train=columns, test=GOOD), message)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_split_is_checked(tmp_path, split):
    splits = {"train": GOOD, "test": GOOD} | {split: GOOD | {"label": [0, 1, 2] + [0] * 7}}
    refused(write(tmp_path / "mine", **splits), f"Row 2 .* of the {split} split .* label 2, but there are 2 classes")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_rows_of_text_files_are_checked(tmp_path, suffix):
    refused(write(tmp_path / "a", suffix, train=BAD_SPLITS["labels are words"][0], test=GOOD), "'good' in row 4")
    refused(write(tmp_path / "b", suffix, train=BAD_SPLITS["null text"][0], test=GOOD), "Row 7 .* has no text")


def test_known_names_refuse_the_unsupervised_label(tmp_path, monkeypatch):
    write(tmp_path / "imdb", train=GOOD, test=GOOD | {"label": [-1] * 10})
    monkeypatch.setenv("RNNZOO_DATA", str(tmp_path))
    with pytest.raises(data.DataError, match=r"test split .* label -1, .* 2 classes \(negative, positive\)"):
        data.load("imdb", seed=0)


@pytest.mark.parametrize("missing", ["train", "test"])
def test_train_and_test_are_needed(tmp_path, missing):
    splits = {split: GOOD for split in ("train", "validation", "test") if split != missing}
    refused(write(tmp_path / "mine", **splits), f"has no {missing} split, only: ")


def test_splits_must_agree_on_the_classes(tmp_path):
    for split, names in {"train": ["neg", "pos"], "test": ["pos", "neg"]}.items():
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        Dataset.from_dict(GOOD, features=features).to_parquet(tmp_path / f"{split}.parquet")
    refused(tmp_path, "name their classes differently")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("content", [b"", b'PAR1\x00\xff{"text": "a,b\n\n1,2,3\nPAR1'])
def test_a_damaged_file_is_named(tmp_path, suffix, content):
    folder = write(tmp_path / "mine", suffix, train=GOOD, test=GOOD)
    (folder / f"test.{suffix}").write_bytes(content)
    refused(folder, f"file 'test.{suffix}' of the folder 'mine' cannot be read as {suffix}")


def test_a_parquet_file_cut_short_is_named(tmp_path):
    folder = write(tmp_path / "mine", train=GOOD, test=GOOD)
    (folder / "train.parquet").write_bytes((folder / "train.parquet").read_bytes()[:-20])
    refused(folder, "'train.parquet' .* cannot be read as parquet")


def test_folders_that_are_none(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no data set that can be read, but nothing")
    refused(write(tmp_path / "odd", dev=GOOD), r"but dev.parquet\. A data set is a folder with train")
    refused(tmp_path / "absent", "must be a folder .* not there")
    refused(tmp_path / "odd" / "dev.parquet", "must be a folder .* a file")
    write(tmp_path / "odd", train=GOOD, test=GOOD)
    refused(write(tmp_path / "odd", "csv", test=GOOD), "test split more than once: test.parquet, test.csv")


def test_acl_folders_that_are_none(tmp_path):
    folder = acl_folder(tmp_path / "aclImdb")
    (folder / "train" / "neg" / "3_3.txt").write_bytes(b"\xff\xfe")
    refused(folder, "train/neg/3_3.txt is not UTF-8")
    for file in (folder / "train" / "neg").iterdir():
        file.unlink()
    refused(folder, "no text in train/neg")


@pytest.mark.parametrize("content", ["{", '{"0": "bad"}', "[0, 1]", '["good", "good"]'])
def test_labels_json_must_be_a_list_of_names(tmp_path, content):
    folder = write(tmp_path / "mine", train=GOOD, test=GOOD)
    (folder / "labels.json").write_text(content)
    refused(folder, "^labels.json of the folder 'mine'")


def test_a_cut_needs_rows_and_a_fraction(tmp_path):
    folder = write(tmp_path / "mine", train=rows(3), test=GOOD)
    refused(folder, "No validation split can be cut from the 3 rows")
    for fraction in (0, 1, -0.1):
        refused(folder, f"validation_fraction is {fraction}", validation_fraction=fraction)


def test_an_unknown_hub_id_is_named():
    refused("nobody/nothing", "'nobody/nothing' is neither a folder here, nor to be had from the Hub")


# ---- the real thing ----


@pytest.mark.realdata
def test_imdb(monkeypatch):
    monkeypatch.setenv("RNNZOO_DATA", REAL_DATA)
    corpus = data.load("imdb", seed=0)
    assert corpus.labels == ["negative", "positive"]
    counts = {split: Counter(part["label"]) for split, part in corpus.splits.items()}
    assert counts == {"train": {0: 10000, 1: 10000}, "validation": {0: 2500, 1: 2500}, "test": {0: 12500, 1: 12500}}
