"""Tunes that models write: in which order they are played, whether their bars add up, and what of them is copied."""

import json
import random
from importlib.util import find_spec

import pytest

from recipes.music import TASK
from recipes.tunes import __main__ as command
from recipes.tunes import files, repairing
from recipes.tunes.__main__ import main, write_faultless
from recipes.tunes.copying import longest_shared
from recipes.tunes.playing import played
from rnnzoo.data import tunes
from rnnzoo.data.abc_notation import as_abc, as_text
from rnnzoo.data.errors import RecipeError
from rnnzoo.training.card import card, training_data
from tests.support.recipes import run
from tests.support.tunes import write_tunes


needs_music21 = pytest.mark.skipif(find_spec("music21") is None, reason="music21 is not installed: rnnzoo[music]")


def text(music, metre="4/4", length="1/4"):
    return f"jigs\nM:{metre}\nL:{length}\nK:C\n{music}"


@pytest.mark.parametrize(
    "music, order",
    [
        ("A|B|C|", "A|B|C|"),
        ("A|B:|", "A|B||A|B||"),
        ("A|:B|C:|D|", "A||B|C||B|C||D|"),
        ("A|B:|C|D:|", "A|B||A|B||C|D||C|D||"),
        ("A::B:|", "A||A||B||B||"),
        ("A:||:B:|", "A||A||B||B||"),
        ("A||B|C:|", "A||B|C||B|C||"),
        ("A|[1B:|[2C||D|", "A|||B||A|||C||D|"),
        ("|:A|[1B:|[2C|]D:|", "||A|||B||A|||C||D||D||"),
        ('|:"C|x"A|\n"[1"B:|', '||"C|x"A|"[1"B||"C|x"A|"[1"B||'),
        ("A|\nK:G\nB:|", "A|\nK:G\nB||A|\nK:G\nB||"),
        ("[CE]A:|", "[CE]A||[CE]A||"),
    ],
)
def test_repeats_and_endings_are_played_out(music, order):
    assert played(text(music)) == text(order)


@pytest.mark.parametrize("music", ['A|"B|', "AB:C|", "A|[1B:|C|"])
def test_what_cannot_be_played_is_refused(music):
    with pytest.raises(ValueError, match="cannot be read|no second one"):
        played(text(music))


ADD_UP = {
    "complete bars": ("ABcd|A2B2|", {}),
    "an upbeat and a last bar without it": ("A|BcdA|BcdA|BcA|", {}),
    "an upbeat that a repeat goes back to": ("A|BcdA|BcA:|B|cdAB|cdA:|", {}),
    "endings of which each completes an upbeat": ("|:A|BcdA|[1BcA:|[2Bcd||B|cdAB|cdA:|", {}),
    "an ending without the upbeat, before a section without": ("|:A|BcdA|[1BcA:|[2BcdA||cdAB|", {}),
    "a bar that a double bar line divides": ("ABcd|AB||cd|ABcd|", {}),
    "a bar that a change of key divides": ("ABcd|ABc|\nK:G\nd|ABcd|", {}),
    "triplets": ("(3ABc d2|(3A/B/c/ d3|", {}),
    "dots, broken rhythm and rests": ("A3/2B/ c>d|z2 A<B|", {}),
    "chords, ties and grace notes": ("[ce]2-[ce]2|{g}A4|", {}),
    "chord symbols with a bar line in them": ('"C|G"ABcd|"Am"A4|', {}),
    "another unit length": ("A3 B3|c6|", {"metre": "6/8", "length": "1/8"}),
    "changes of metre and unit length": ("ABcd|\nM:3/4\nABc|\nL:1/8\nA2B2c2|\nM:4/4\nA8|", {}),
}
DO_NOT_ADD_UP = {
    "a bar that is short": ("ABcd|ABc|ABcd|", [1]),
    "a bar that is long": ("ABcd|ABcde|ABcd|", [1]),
    "two short bars at a plain bar line": ("ABcd|ABc|d|ABcd|", [1, 2]),
    "a repeat that goes back to an upbeat too many": ("A|BcdA|BcdA:|BcdA|", [3]),
    "an ending without the upbeat, before one": ("|:A|BcdA|[1BcA:|[2Bcd||BcdA|", [5]),
    "a first bar that is long": ("ABcde|ABcd|", [0]),
    "a last bar that is long": ("ABcd|ABcde|", [1]),
    "a triplet that lacks a note": ("(3ABc d2|(3AB d2|ABcd|", [1]),
    "the metre before a change": ("ABcd|\nM:3/4\nABcd|ABc|", [1]),
}


@needs_music21
@pytest.mark.parametrize("case", ADD_UP)
def test_these_bars_add_up(case):
    from recipes.tunes.bars import refused, wrong_bars

    music, header = ADD_UP[case]
    assert wrong_bars(text(music, **header)) == [] and not refused(text(music, **header))


@needs_music21
@pytest.mark.parametrize("case", DO_NOT_ADD_UP)
def test_these_bars_do_not_add_up(case):
    from recipes.tunes.bars import wrong_bars

    music, wrong = DO_NOT_ADD_UP[case]
    assert wrong_bars(text(music)) == wrong


@needs_music21
@pytest.mark.parametrize("music", ["A$BC|", '"C AB|', "[ce|", "AB|?|", "ApB|"])
def test_what_the_parser_does_not_read_to_the_last_character_is_refused(music):
    from recipes.tunes.bars import refused

    assert "music21" in refused(text(music))


def test_the_longest_shared_run_is_that_of_brute_force():
    rng = random.Random(0)
    for _ in range(50):
        others = [rng.choices("abc", k=rng.randrange(9)) for _ in range(4)]
        bars = rng.choices("abcd", k=rng.randrange(9))
        runs = (bars[i:j] for i in range(len(bars)) for j in range(i + 1, len(bars) + 1))
        within = [run for run in runs if any(run == o[k : k + len(run)] for o in others for k in range(len(o)))]
        assert longest_shared(others)(bars) == max(map(len, within), default=0)


# ---- a model ----


@pytest.fixture(autouse=True)
def short_tunes(monkeypatch):
    """A model that can hardly write a tune hardly ends one."""
    monkeypatch.setattr(command, "LONGEST", 60)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that has seen a few tunes of four bars, and can hardly write one."""
    data, folder = (tmp_path_factory.mktemp(name) for name in ("data", "runs"))
    write_tunes(data)
    results = run(
        TASK,
        folder,
        data,
        model={"model_type": "rnnzoo-gru", "embedding_size": 8, "hidden_size": 8},
        tokenizer={"unit": "character"},
        documents=True,
        batch_size=8,
        num_train_epochs=2,
        learning_rate=0.05,
        num_threads=1,
    )
    return folder, results


def test_a_run_is_measured_in_bits_per_character_and_its_card_begins_with_a_label(model):
    folder, results = model
    assert results["task"] == "music" and results["description"]["lower_is_better"]
    first, last = (record["validation"]["bits_per_character"] for record in results["history"])
    assert last < first < 10
    assert 'compose("jigs\\nM:6/8\\nL:1/8\\nK:G\\n", do_sample=True' in (folder / "README.md").read_text()


def test_tunes_of_a_label_are_files_with_complete_headers(model, tmp_path, capsys):
    def written(into, **label):
        flags = [part for name, value in label.items() for part in (f"--{name}", value)]
        main([str(model[0]), "--number", "3", "--output_dir", str(tmp_path / into), *flags])
        return [path.read_text() for path in sorted((tmp_path / into).glob("*.abc"))]

    label = {"book": "jigs", "metre": "6/8", "key": "G"}
    tunes = written("a", **label)
    assert (
        len(tunes) == 3 and len(set(tunes)) == 3 and written("b", **label) == tunes != written("c", seed="1", **label)
    )
    for number, abc in enumerate(tunes, start=1):
        assert abc.startswith(f"X:{number}\nT:jigs, 6/8, G, number {number}\nM:6/8\nL:1/8\nK:G\n")


def test_labels_are_drawn_from_the_training_tunes(model, tmp_path):
    main([str(model[0]), "--number", "12", "--output_dir", str(tmp_path)])
    headers = {path.read_text().split("K:C")[0].split("\n", 2)[2] for path in tmp_path.glob("*.abc")}
    assert headers == {"M:6/8\nL:1/8\n", "M:4/4\nL:1/8\n"}


@needs_music21
def test_what_is_measured_goes_to_results_json_and_from_there_to_the_card(model, tmp_path):
    folder, results = model
    main([str(folder), "--number", "5", "--measure", "--output_dir", str(tmp_path)])
    after = json.loads((folder / "results.json").read_text())
    found = after.pop("tunes")
    assert after == json.loads(json.dumps(results))
    shown = [as_text("jigs", (tmp_path / f"00{n}.abc").read_text()).splitlines()[1:] for n in (1, 2)]
    assert [as_text("jigs", as_abc(text)).splitlines()[1:] for text in found["shown"]] == shown
    # Those of test were made with complete bars, and share none with train.
    assert found["sampled"]["tunes"] == 5 and found["sampled"]["read_and_bars_add_up"] <= found["sampled"]["read"]
    assert found["test"]["read_and_bars_add_up"] == 1 and found["test"]["longest_shared"]["most"] == 0
    text = card(after | {"tunes": found})
    assert f"```text\n{found['shown'][0]}\n```" in text and "\n\n## Training data\n" in text


@needs_music21
@pytest.mark.parametrize(
    "music, further_back, kept",
    [
        ("EFG ABd|EFG|EFG ABd|", 0, "EFG ABd|"),  # the second bar is too short
        ("EFG ABd|EFG ABd|EFG ABd e|", 0, "EFG ABd|"),  # the last is too long, or follows one that is wrong
        ("EFG ABd|EFG ABd|EFG ABd e|", 1, ""),
        ("EFG ABd e|EFG ABd|", 0, ""),
        ("d|EFG ABd|EFG AB:|d|EFG ABd|EFG:|EFG ABd|", 0, "d|EFG ABd|EFG AB:|d|"),  # the upbeat and the last bar
        ("EFG ABd|EFG A$d|", 0, ""),  # its bars add up
    ],
)
def test_a_tune_is_right_up_to_the_bars_before_a_wrong_one(music, further_back, kept):
    tune = text(music, "6/8", "1/8")
    assert repairing.right_beginning(tune, further_back) == text(kept, "6/8", "1/8")


@needs_music21
def test_a_model_goes_on_training_on_tunes_without_a_fault(model, tmp_path, monkeypatch):
    right, short = (text(f"{music}|{music}|{music}|", "6/8", "1/8") for music in ("EFG ABd", "EFG AB"))
    file = tmp_path / "own" / "tunes.parquet"
    other = right.replace("EFG", "CDB")
    with pytest.raises(RecipeError, match="None of the tunes is without a fault"):
        write_faultless([], file)
    assert not file.exists()
    attempts = []

    wrong = [short, right.replace("d", "$"), other]  # the last one has no end

    def write(beginnings, attempt):
        attempts.append(beginnings)
        return (wrong, [2]) if attempt == 0 else ([right] * 3, [1])

    monkeypatch.setattr(repairing, "ATTEMPTS", 2)
    assert repairing.repaired(write, ["label"] * 3) == [right] * 2
    assert attempts == [["label"] * 3, list(map(repairing.right_beginning, wrong))]
    write_faultless([right], file)
    assert [tune.text for tune in tunes.read(file)] == [right]
    folder, before = model
    results = run(
        TASK,
        tmp_path / "run",
        before["config"]["dataset"],
        model_name_or_path=str(folder),
        unlabelled=str(file),
        documents=True,
        batch_size=1,
        max_train_steps=1,
        validation_only=True,
        num_threads=1,
    )
    assert results["dataset"]["unlabelled"] == 1 and results["dataset"]["splits"] == before["dataset"]["splits"]
    assert training_data(results, "").endswith(" Further tunes to train on: 1.")


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--book", "jigs"], "all of them"),
        (["--faultless", "own.abc"], "names a .parquet file"),
        (["--faultless", "own.parquet", "--measure"], "leave --book, --metre, --key and --measure out"),
        (["--number", "0"], "at least 1"),
        (["--book", "jigs", "--metre", "six", "--key", "G"], "metre 'six'"),
        (["--book", "jigs", "--metre", "6/8", "--key", "G", "--measure"], "--measure"),
    ],
)
def test_options_that_do_not_fit_are_refused(model, tmp_path, flags, said):
    with pytest.raises(RecipeError, match=said):
        main([str(model[0]), "--output_dir", str(tmp_path / "new"), *flags])
    assert not (tmp_path / "new").exists()


def test_without_the_packages_there_is_abc_and_a_hint(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "NEEDED", ("music21", "no_such_package"))
    assert "no_such_package" in files.missing() and "rnnzoo[music]" in files.missing()
    files.write(text("ABcd|"), tmp_path / "a.abc", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.abc"]


@pytest.mark.skipif(bool(files.missing()), reason="music21 or verovio is not installed: rnnzoo[music]")
def test_midi_has_the_notes_as_they_are_played_and_the_picture_is_drawn(tmp_path, capsys):
    from music21 import converter

    files.write(text('"G"ABcd|A4:|(3ABc d2|A4:|'), tmp_path / "a.abc", 1)
    midi = converter.parse(tmp_path / "a.mid")
    assert midi.duration.quarterLength == 32 and len(midi.flatten().notes) == 20
    assert "<svg" in (tmp_path / "a.svg").read_text()
    files.write(text("[ABcd|"), tmp_path / "b.abc", 2)
    assert "b.abc has no MIDI" in capsys.readouterr().out and not (tmp_path / "b.mid").exists()
