"""recipes.latency: folders are asked as their users ask them, and their results gain the times and lose nothing."""

import json
import shutil

import pytest
from small_task import fresh_accelerator

from recipes import imdb, latency, tfidf


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One folder of each sort that can be asked: a network's and the baseline's."""
    place = tmp_path_factory.mktemp("runs")
    fresh_accelerator()
    small = ["--model.model_type", "rnnzoo-gru", "--model.hidden_size", "8", "--tokenizer.vocab_size", "300"]
    brief = ["--max_train_steps", "3", "--verify_rows", "4", "--num_threads", "1"]
    imdb.recipe([*small, *brief, "--dataset", "made", "--output_dir", str(place / "gru-0")])
    tfidf.recipe(["--dataset", "made", "--output_dir", str(place / "tfidf-0")])
    return [place / "gru-0", place / "tfidf-0"]


def read(folder):
    return json.loads((folder / "results.json").read_text())


def test_every_folder_is_given_its_times(folders):
    before = [read(folder) for folder in folders]
    latency.main([str(folder) for folder in folders])
    for folder, old in zip(folders, before, strict=True):
        new = read(folder)
        times = new.pop("latency")
        assert new == old
        assert times["milliseconds"] > 0 and times["texts_per_second"] > 0
        assert times["texts"] == latency.TEXTS and times["num_threads"] == 1
        assert "scikit-learn" in times["versions"] and times["device"]
        assert {path.name for path in folder.iterdir()} >= {"results.json", "model.safetensors"}
        assert not list(folder.glob("*.new"))


def test_answers_are_the_folders_own(folders):
    texts = ["a wonderful film", "", "a terrible film"]
    network, baseline = (latency.asker(folder, read(folder)) for folder in folders)
    assert [answer["label"] in ("negative", "positive") for answer in network(texts, batch_size=2)] == [True] * 3
    assert baseline(texts, batch_size=2) == tfidf.Tfidf.load(folders[1])(texts)
    assert network(texts[0]) == network(texts[:1], batch_size=1) and baseline(texts[0]) == baseline(texts[:1])


def test_medians_of_single_texts_and_of_batches(monkeypatch):
    asked, now = [], [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])

    def asker(name, seconds):
        def answer(texts, batch_size=1):
            asked.append((name, texts, batch_size))
            now[0] += seconds if isinstance(texts, str) else seconds * len(texts) / 4

        return answer

    texts = ["a"] * 64
    found = latency.measure([asker("slow", 0.02), asker("fast", 0.001)], texts)
    assert found == [
        {"milliseconds": 20.0, "texts_per_second": 200.0},
        {"milliseconds": 1.0, "texts_per_second": 4000.0},
    ]
    turns = [name for name, texts, _ in asked if texts == "a"]
    assert turns == ["slow", "fast"] * 64, "they take turns"


def test_what_cannot_be_measured_is_refused(folders, tmp_path, capsys):
    for paths, says in (
        ([], "nothing to read"),
        ([str(tmp_path)], "nothing to read"),
        ([str(tmp_path / "nowhere")], "there is no .*nowhere"),
    ):
        with pytest.raises(SystemExit, match=says):
            latency.main(paths)
    other = shutil.copytree(folders[1], tmp_path / "other")
    changed = read(other)
    changed["config"]["dataset"] = "somewhere/else"
    (other / "results.json").write_text(json.dumps(changed))
    with pytest.raises(SystemExit, match="several data sets"):
        latency.main([str(folders[0]), str(other)])
