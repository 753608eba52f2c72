"""recipes.latency: folders answer as their users ask them, and their results gain the times and lose nothing."""

import json
import shutil

import pytest

from recipes.baselines import tfidf
from recipes.benchmarks import latency, timing
from recipes.imdb import TASK as CLASSIFY
from recipes.ner import TASK as TAG
from rnnzoo.data.errors import RecipeError
from rnnzoo.training import parity
from tests.support import small_bert
from tests.support.recipes import answered_here, run


BRIEF = {"max_train_steps": 3, "verify_rows": 4, "num_threads": 1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One folder of each kind: a model of the zoo, one of transformers, and the baseline."""
    place = tmp_path_factory.mktemp("runs")
    small = {"model": {"model_type": "rnnzoo-gru", "hidden_size": 8}, "tokenizer": {"vocab_size": 300}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "answers", answered_here)
        run(CLASSIFY, place / "gru-0", **small, **BRIEF)
        bert = str(small_bert.save(place / "checkpoint"))
        run(CLASSIFY, place / "bert-0", model_name_or_path=bert, **BRIEF)
    tfidf.recipe(["--dataset", "made", "--output_dir", str(place / "tfidf-0")])
    return [place / "gru-0", place / "bert-0", place / "tfidf-0"]


@pytest.fixture(scope="module")
def taggers(tmp_path_factory):
    """A tagger with characters and a CRF, and a transformer that reads 64 sub-tokens of a sentence."""
    place = tmp_path_factory.mktemp("taggers")
    model = {"model_type": "rnnzoo-lstm", "hidden_size": 16, "character_size": 8, "use_crf": True}
    trained = BRIEF | {"max_train_steps": 150, "learning_rate": 0.01}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "answers", answered_here)
        run(TAG, place / "lstm-0", model=model, tokenizer={"vocab_size": 400}, **trained)
        bert = str(small_bert.save(place / "checkpoint", num_labels=9))
        run(TAG, place / "bert-0", model_name_or_path=bert, **BRIEF)
    return [place / "lstm-0", place / "bert-0"]


def read(folder):
    return json.loads((folder / "results.json").read_text())


def test_every_folder_is_given_its_latency(folders):
    before = [read(folder) for folder in folders]
    latency.main([str(folder) for folder in folders])
    for folder, old in zip(folders, before, strict=True):
        new = read(folder)
        times = new.pop("latency")
        assert new == old
        assert times["milliseconds"] > 0 and times["texts_per_second"] > 0
        assert times["texts"] == CLASSIFY.description.timed_examples and times["num_threads"] == 1
        assert "words_per_second" not in times
        assert "scikit-learn" in times["versions"] and times["device"]
        assert times["measured"] == read(folders[0])["latency"]["measured"], "all interleaved"
        assert {path.name for path in folder.iterdir()} >= {"results.json", "model.safetensors"}
        assert not list(folder.glob("*.new"))


def test_a_run_of_one_step_gives_its_times_to_results_of_its_name(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "ROUNDS", 1)
    results = tmp_path / "results"
    (results / "imdb").mkdir(parents=True)
    gru, tfidf_file = results / "imdb" / "gru-0.json", results / "imdb" / "tfidf-0.json"
    evaluated = read(folders[0]) | {"git_commit": "of the run that was evaluated"}
    evaluated.pop("latency", None)
    teachers = [{"name": "tfidf-0", "model_type": "tfidf"}, {"name": "gone", "model_type": "tfidf"}]
    gru.write_text(json.dumps(evaluated | {"distillation": {"teachers": teachers}}))
    (results / "other").mkdir()
    (results / "other" / "gru-0.json").write_text(json.dumps(evaluated | {"dataset": {"name": "another"}}))
    before = {folder: (folder / "results.json").read_bytes() for folder in folders}
    latency.main([*map(str, folders[::2]), "--results", str(results)])
    new = json.loads(gru.read_text())
    assert new.pop("latency")["milliseconds"] > 0
    times = read(folders[2])["latency"]["milliseconds"]  # its name is not among the results
    assert new.pop("distillation") == {"teachers": [teachers[0] | {"milliseconds": times}, teachers[1]]}
    assert new == evaluated
    assert (folders[0] / "results.json").read_bytes() == before[folders[0]]
    assert "latency" not in json.loads((results / "other" / "gru-0.json").read_text())

    tfidf_file.write_text(json.dumps(read(folders[2]) | {"num_parameters": 7}))
    with pytest.raises(RecipeError, match=r"tfidf-0 is a tfidf of [\d,]+ parameters and .*tfidf-0.json is of .* 7,"):
        latency.main([str(folders[2]), "--results", str(results)])
    again = shutil.copytree(folders[0], tmp_path / "gru-0")
    with pytest.raises(RecipeError, match="are both of the name of"):
        latency.main([str(folders[0]), str(again), "--results", str(results)])
    with pytest.raises(RecipeError, match="no such folder"):
        latency.main([str(folders[0]), "--results", str(tmp_path / "nowhere")])


def test_taggers_are_given_words_per_second_too(folders, taggers, monkeypatch):
    commits = iter(["commit", "commit-dirty"])  # results that are written may be files of the repository
    monkeypatch.setattr(latency, "git_commit", lambda: next(commits))
    before = [read(folder) for folder in taggers]
    latency.main([str(folder) for folder in (taggers[0], folders[0], taggers[1])])  # each task by itself
    test = TAG.load("made", seed=0).splits["test"]
    assert len(test) < TAG.description.timed_examples, "all of it is timed"
    words = sum(map(len, test["tokens"]))
    for folder, old in zip(taggers, before, strict=True):
        new = read(folder)
        times = new.pop("latency")
        assert new == old
        assert times["milliseconds"] > 0 and times["texts"] == len(test) and times["words"] == words
        assert times["git_commit"] == read(folders[0])["latency"]["git_commit"] == "commit"
        assert times["words_per_second"] / times["texts_per_second"] == pytest.approx(words / len(test), rel=0.01)
        assert times["measured"] == read(taggers[0])["latency"]["measured"] != read(folders[0])["latency"]["measured"]


def test_a_tagger_answers_with_complete_entities_of_the_text(taggers):
    ours, bert = (latency.asker(folder, read(folder)) for folder in taggers)
    text = "Agnes Lindqvist met Mr. Jordan in Sydney ."
    alone, (first, second) = ours(text), ours([text, "no name"], batch_size=2)
    assert ("PER", "Agnes Lindqvist") in [
        (found["entity_group"], text[found["start"] : found["end"]]) for found in alone
    ]
    assert [found["end"] for found in first] == [found["end"] for found in alone] and second == []
    bert("a film " * 100)  # longer than it reads: truncated where its tokenizer says, as when it was measured


def test_answers_are_those_of_the_folder(folders):
    texts = ["a wonderful film", "", "a terrible film", "a film " * 100]  # the last one is longer than BERT reads
    *networks, baseline = (latency.asker(folder, read(folder)) for folder in folders)
    for folder, network in zip(folders, networks, strict=False):
        labels = read(folder)["model_config"]["id2label"].values()
        answers = network(texts, batch_size=2)
        assert len(answers) == 4 and all(answer["label"] in labels for answer in answers)
        assert network(texts[3])[0]["score"] == pytest.approx(answers[3]["score"], abs=1e-5)
    expected = tfidf.Tfidf.load(folders[-1])(texts)
    assert baseline(texts, batch_size=3) == expected and baseline(texts[0]) == expected[:1]


def test_the_baseline_answers_batches_of_the_same_size_as_the_networks(folders, monkeypatch):
    sizes, answer = [], tfidf.Tfidf.__call__
    monkeypatch.setattr(tfidf.Tfidf, "__call__", lambda self, texts: sizes.append(len(texts)) or answer(self, texts))
    latency.asker(folders[-1], read(folders[-1]))(["a film"] * 70, batch_size=32)
    assert sizes == [32, 32, 6]


def test_medians_of_single_texts_and_of_batches(monkeypatch):
    asked, now = [], [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def asker(name, seconds):
        def answer(texts, batch_size=1):
            asked.append((name, texts, batch_size))
            now[0] += seconds if isinstance(texts, str) else seconds * len(texts) / 4

        return answer

    texts = ["a"] * 64
    found = latency.measure([asker("slow", 0.02), asker("fast", 0.001)], texts, {"texts": 64, "words": 640})
    assert found == [
        {"milliseconds": 20.0, "texts_per_second": 200.0, "words_per_second": 2000.0},
        {"milliseconds": 1.0, "texts_per_second": 4000.0, "words_per_second": 40000.0},
    ]
    turns = [name for name, texts, _ in asked if texts == "a"]
    assert turns == ["slow", "fast"] * 64, "interleaved"


def test_what_cannot_be_measured_is_refused(folders, tmp_path, capsys):
    for paths, says in (
        ([], "nothing to read"),
        ([str(tmp_path)], "nothing to read"),
        ([str(tmp_path / "nowhere")], "there is no .*nowhere"),
    ):
        with pytest.raises(SystemExit, match=says):
            latency.main(paths)
    moved = shutil.copytree(folders[2], tmp_path / "moved")
    (moved / "results.json").write_text(json.dumps(read(moved) | {"task": "poetry"}))
    with pytest.raises(RecipeError, match="the task 'poetry', and there is no recipes/poetry.py"):
        latency.main([str(moved)])


def test_folders_of_another_data_set_are_timed_on_its_texts(folders, tmp_path, monkeypatch):
    rows = {"text": ["red red one", "green two"] * 9, "label": [0, 1] * 9}
    for split in ("train", "validation", "test"):
        lines = [json.dumps({"text": t, "label": n}) for t, n in zip(rows["text"], rows["label"], strict=True)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    tfidf.recipe(["--dataset", str(tmp_path), "--output_dir", str(tmp_path / "own")])
    asked = []
    monkeypatch.setattr(latency, "measure", lambda ask, texts, _: asked.append((len(ask), texts)) or [{}] * len(ask))
    latency.main([str(folder) for folder in (folders[0], tmp_path / "own", folders[2])])
    assert [(count, len(texts)) for count, texts in asked] == [(2, CLASSIFY.description.timed_examples), (1, 18)]
    assert set(asked[1][1]) == set(rows["text"])
    assert len({read(folder)["latency"]["measured"] for folder in (folders[0], tmp_path / "own", folders[2])}) == 2


def test_a_missing_data_set_is_named(folders, tmp_path):
    moved = shutil.copytree(folders[2], tmp_path / "moved")
    changed = read(moved)
    changed["config"]["dataset"] = str(tmp_path / "nowhere")
    (moved / "results.json").write_text(json.dumps(changed))
    with pytest.raises(RecipeError, match="nowhere"):
        latency.main([str(moved)])


def test_an_older_folder_is_timed_as_before(folders, tmp_path, monkeypatch):
    """Results without a description are those of the recipe of their task's name."""
    monkeypatch.setattr(latency, "ROUNDS", 1)
    old = shutil.copytree(folders[0], tmp_path / "old")
    new = {name: value for name, value in read(old).items() if name not in ("kind", "description")}
    (old / "results.json").write_text(json.dumps(new))
    latency.main([str(old)])
    assert read(old)["latency"]["texts"] == CLASSIFY.description.timed_examples
