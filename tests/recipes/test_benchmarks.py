"""The benchmarks, run once and small: what they write can be shown, and contenders are timed alike."""

import json
import sys

import pytest
import torch
from PIL import Image

from recipes.benchmarks import crf, engine, generation, softmax
from recipes.benchmarks.timing import interleaved
from recipes.report import generation as report_of_generation
from recipes.report.pictures import digest
from recipes.report.speed import crf_speed, softmax_speed, speed


@pytest.fixture
def small(monkeypatch):
    """Batches and models small enough for a test."""
    monkeypatch.setattr(engine, "B", 2)
    monkeypatch.setattr(engine, "T", 6)
    monkeypatch.setattr(engine, "SIZE", 4)
    monkeypatch.setattr(engine, "SHORTEST", {"2 to 6": 2})
    monkeypatch.setattr(crf, "B", 2)
    monkeypatch.setattr(crf, "T", 6)
    monkeypatch.setattr(crf, "SIZE", 4)
    monkeypatch.setattr(crf, "SHORTEST", {"2 to 6": 2})


def test_contenders_take_turns():
    called = []
    contenders = {name: lambda given, name=name: called.append((name, given)) for name in "ab"}
    times = interleaved(contenders, [1, 2], in_a_row=2, wait=lambda: called.append("wait"))
    turns = [("a", 1), "wait"] * 2 + [("b", 1), "wait"] * 2 + [("a", 2), "wait"] * 2 + [("b", 2), "wait"] * 2
    assert called == turns
    assert {name: len(found) for name, found in times.items()} == {"a": 4, "b": 4}


def test_the_engine_beside_packed_sequences_is_a_table(small, tmp_path):
    engine.main(folder=tmp_path, repeats=1, calls=10)
    result = json.loads((tmp_path / "speed.json").read_text())
    assert result["task"] == "speed" and len(result["rows"]) == 6 and set(result["latency"]) == {*engine.FAMILIES}
    shown = speed(result)
    assert "| 2 to 6 | LSTM train | " in shown and "| 2 to 6 | BiRNN infer | " in shown
    assert f"Hardware: {result['device']}, {result['num_threads']} threads" in shown


def test_the_engine_and_packed_sequences_compute_the_same(small):
    lengths, x = torch.tensor([6, 3]), torch.randn(2, 6, 4)
    mask = (torch.arange(6) < lengths[:, None]).long()
    for name in engine.TORCH:
        (packed, run_packed), (ours, run_ours) = engine.contenders(name, "cpu").values()
        with torch.no_grad():
            for parameter, value in zip(ours.layers.parameters(), packed.parameters(), strict=True):
                parameter.copy_(value)
            found, expected = run_ours(x, lengths, mask), run_packed(x, lengths, mask)
        torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], rtol=1e-5, atol=1e-5)


def test_the_crf_beside_pytorch_crf_is_a_table(small, tmp_path):
    pytest.importorskip("torchcrf", reason="pytorch-crf is in the extra [bench]")
    crf.main(folder=tmp_path, calls=10)
    result = json.loads((tmp_path / "crf.json").read_text())
    assert result["task"] == "crf" and len(result["rows"]) == 4 and "pytorch-crf" in result["versions"]
    shown = crf_speed(result)
    assert "| 2 to 6 | train | 1 | " in shown and "| 2 to 6 | decode | 10 | " in shown
    assert "One sentence of 25 words, milliseconds: BiLSTM of size 4 " in shown


def test_the_benchmark_of_the_crf_names_the_extra_that_it_needs(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcrf", None)  # an import of it fails
    with pytest.raises(SystemExit, match=r"error: .*torchcrf.*pip install -e '\.\[bench\]'"):
        crf.main(folder=tmp_path, calls=10)
    assert not list(tmp_path.iterdir())


def test_the_three_softmaxes_take_turns_and_make_a_table(tmp_path):
    softmax.main(tmp_path, vocabularies=(40,), rounds=1)
    result = json.loads((tmp_path / "softmax.json").read_text())
    (row,) = result["rows"]
    assert row["vocabulary"] == 40 and min(row[name] for name in ("complete", "sampled", "adaptive")) > 0
    assert f"| 40 | {row['complete']:.0f} | " in softmax_speed(result)


def test_the_cost_of_a_token_is_a_table_and_a_picture(tmp_path):
    sizes = {"vocab_size": 16, "embedding_size": 8, "hidden_size": 32, "num_hidden_layers": 1}
    generation.main(tmp_path, sizes, positions=(10, 20), call=lambda function, *given: function(*given))
    result = json.loads((tmp_path / "generation.json").read_text())
    found = {(row["model"], row["way"]): row for row in result["rows"]}
    assert len(found) == 10 and {row["tokens"] for row in found.values()} == {20}
    for row in found.values():
        assert min(row["milliseconds"].values()) > 0 and row["megabytes"].keys() == {"10", "20"}
    ours, theirs = (found[name]["parameters"] for name in (("LSTM", generation.STATE), ("Llama", generation.CACHE)))
    assert theirs == pytest.approx(ours, rel=0.2)
    shown = report_of_generation.generation(result)
    assert "| GRU, loop by hand, state | " in shown and " | – | – | – | " in shown
    report_of_generation.draw_generation(result, tmp_path)
    with Image.open(tmp_path / "generation.png") as picture:
        assert picture.info["Description"] == digest([result])
