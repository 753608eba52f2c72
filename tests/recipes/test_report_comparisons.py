"""What the report compares: with and without layers, validation and test, numbers of labels, parts of a training."""

import random
from math import comb
from statistics import mean

import pytest
from PIL import Image

from recipes import zoo
from recipes.report import __main__ as report
from recipes.report.labels import labels, lines
from recipes.report.mcnemar import Discordant, correct
from recipes.report.parts import beside_context, beside_plain, parts
from recipes.report.pictures import digest, draw
from recipes.report.recurrence import recurrence, twins
from recipes.report.runs import BAG, RECURRENT, best_by_kind, by_data, models, same_setting, usual_data
from recipes.report.sections import headline, section, summary, table, verdict
from rnnzoo.training.evaluation import packed
from tests.support.results import answered, config, films, on, part, result, scored, tagger


# ---- which answers were right, and McNemar's test ----


@pytest.mark.parametrize("rows", [1, 7, 8, 13, 1_000])
def test_which_answers_were_right_is_read_as_it_was_written(rows):
    bits = random.Random(rows).choices([True, False], k=rows)
    assert correct(answered(result(), bits)).tolist() == bits


def test_bits_of_another_split_are_refused():
    run = answered(result(), [True] * 16)
    run["test_correct"] = packed([True] * 17)
    with pytest.raises(ValueError, match="test_correct of a-0 has 3 bytes, where 16 test examples take 2"):
        correct(run)


def test_counts_are_those_of_a_plain_loop():
    draw_bits = random.Random(0)
    first, second = (draw_bits.choices([True, False], k=101) for _ in range(2))
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    assert Discordant.of(answered(result(), first), answered(result(), second)) == (only_first, only_second)


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (3, 3), (2, 9), (9, 2), (40, 61)])
def test_p_is_the_probability_of_counts_that_are_no_likelier(counts):
    total = sum(counts)
    exact = sum(comb(total, k) for k in range(total + 1) if comb(total, k) <= comb(total, counts[0])) / 2**total
    assert Discordant(*counts).p == pytest.approx(exact)


# ---- with recurrent layers and without ----

WITH = {"model_type": "rnnzoo-lstm", "num_hidden_layers": 1, "hidden_size": 64, "pooling": "concat", "vocab_size": 9}
WITHOUT = WITH | {"num_hidden_layers": 0, "hidden_size": 128, "pooling": "max"}
# On four test examples: only the network is right on three, only the bag of words on one.
OURS, THEIRS = [True, True, True, False], [False, False, False, True]


def network(name="lstm", seed=0, bits=OURS, fields=WITH, **changes):
    options = config(seed=seed, output_dir=f"runs/{name}-{seed}", model=fields, **changes)
    return answered(result(model=f"{name}-{seed}", seed=seed, model_config=fields, config=options), bits)


def bag(name="lstm-no-layers", bits=THEIRS, fields=WITHOUT, **changes):
    return network(name, bits=bits, fields=fields, **changes)


def test_a_network_stands_beside_the_same_without_layers():
    runs = [network(), network(seed=1), network(seed=2), bag(), bag(seed=1, bits=OURS)]
    lines = recurrence(models(runs)).splitlines()
    assert lines[1] == "### Does recurrence pay?"
    assert lines[-1] == (
        "- lstm 0.7500 against 0.5000 without its recurrent layers (lstm-no-layers), 2 seeds: 3 against 1 of the "
        "discordant answers, p = 0.62; seed by seed, 3 to 1, p = 0.62, 0 to 0, p = 1."
    )
    assert recurrence(models(runs)) in section(runs, "own")
    (line,) = recurrence(models([network(bits=[True] * 100), bag(bits=[False] * 100)])).splitlines()[5:]
    assert line.endswith("one seed: 100 against 0 of the discordant answers, p < 1e-15.")


def test_a_network_from_a_checkpoint_stands_beside_that_from_one_without_layers():
    runs = [network(model_name_or_path="runs/words"), bag(model_name_or_path="runs/words-no-layers")]
    for run in runs:  # the checkpoint says what the model is
        run["config"]["model"] = {}
    assert [(ours.name, other.name) for ours, other in twins(models(runs))] == [("lstm", "lstm-no-layers")]
    runs[1]["model_config"] = WITHOUT | {"vocab_size": 8}
    assert twins(models(runs)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"config": bag(learning_rate=0.1)["config"]},
        {"model_config": WITHOUT | {"vocab_size": 8}},
        {"seed": 1},
        {"model_type": "rnnzoo-gru"},
        {"mixed_precision": "bf16"},
        {"task": "distil"},
        {"test_correct": None},
        {"dataset": bag()["dataset"] | {"validation": "films"}},
        {"dataset": bag()["dataset"] | {"splits": {"train": 4, "test": 4}}},
        {"model_config": WITH},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_models_that_differ_in_more_are_no_pair(changes):
    ours, same = network(learning_rate=0.2), bag(learning_rate=0.2)
    assert len(twins(models([ours, same]))) == 1
    assert recurrence(models([ours, same | changes])) == ""


# ---- validation and test ----


def test_the_table_has_validation_and_how_far_test_is_from_it():
    runs = [
        result(metrics=scored(0.7, 0.71)),
        result(model="a-1", seed=1, metrics=scored(0.6, 0.65)),
        result(model="b-0", metrics=scored(0.5, 0.499)),
    ]
    head, _, first, second, *_ = table(models(runs)).splitlines()
    place = head.split(" | ").index("validation accuracy")
    assert head.split(" | ")[place + 1] == "test − validation"
    assert first.split(" | ")[place : place + 2] == ["0.6800", "-3.0"]
    assert second.split(" | ")[place : place + 2] == ["0.4990", "+0.1"]


RANDOM = [
    result(model="old-0", dataset=on("imdb"), metrics=scored(0.9, 0.92)),
    result(model="older-0", dataset=on("imdb"), metrics=scored(0.8, 0.91)),
    result(model="minilm-0", model_type="bert", dataset=on("imdb"), metrics=scored(0.95, 0.96)),
    result(model="tfidf-0", model_type="tfidf", dataset=on("imdb"), metrics=scored(0.89, 0.915)),
]
NEW = films(model="new-0", metrics=scored(0.88, 0.9))
NB = films(model="nb-0", model_type="tfidf", metrics=scored(0.87, 0.86))


def test_networks_selected_on_a_recorded_split_are_compared_among_themselves():
    names = {kind: model.name for kind, model in best_by_kind(models([*RANDOM, NEW, NB])).items()}
    # Of transformers there is none that was selected on it.
    assert names == {RECURRENT: "new", BAG: "nb", "transformers": "minilm"}
    assert usual_data(models([*RANDOM, NEW, NB]))["validation"] == "films"
    # A bag of words alone does not set the networks aside.
    names = {kind: model.name for kind, model in best_by_kind(models([*RANDOM, NB])).items()}
    assert names == {RECURRENT: "old", BAG: "tfidf", "transformers": "minilm"}


def test_splits_of_one_size_are_not_the_same_validation():
    same_size = films(model="new-0", dataset=on("imdb") | {"validation": "films"}, metrics=scored(0.5, 0.6))
    assert best_by_kind(models([*RANDOM, same_size]))[RECURRENT].name == "new"
    assert len(by_data([RANDOM[0], same_size])) == 2
    assert not same_setting(RANDOM[0], RANDOM[0] | {"dataset": same_size["dataset"]})
    twin = result(model="old-1", seed=1, dataset=same_size["dataset"])
    with pytest.raises(ValueError, match="runs of old differ in more than the seed"):
        models([RANDOM[0], twin])


def test_all_that_is_said_first_is_said_of_that_split_and_the_others_are_marked():
    found = models([*RANDOM, NEW, NB])
    assert "best on validation, new (0.8800" in verdict(found) and "old" not in verdict(found)
    first = headline([*RANDOM, NEW, NB])
    assert first.startswith("Test accuracy on imdb: 0.8800") and "minilm" in first and "tfidf" not in first
    assert "No recurrent network here is yet better than nb" not in first
    better = films(model="nb-0", model_type="tfidf", metrics=scored(0.93, 0.86))
    assert "(minilm, the best transformers model). No recurrent network here is yet better than nb. Sizes" in headline(
        [*RANDOM, NEW, better]
    )
    rows = summary({"imdb": [*RANDOM, NEW, NB]}).splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == ["minilm", "new", "nb"]
    shown = table(found)
    assert "| 0.8800 | 0.9000 (films) | -2.0 |" in shown and "| 0.9000 | 0.9200 | -2.0 |" in shown
    assert "Data: imdb (train 19,885, validation 5,000, test 25,000)" in shown
    assert (
        "Selected on the recorded validation split films (film-disjoint: reviews of films that training reviews are "
        "not about), but for minilm, old, tfidf, older, which are not compared with the others." in shown
    )
    assert "recorded validation split" not in table(models(RANDOM))


# ---- the number of labels ----


def few(line, number, seed, accuracy, **changes):
    name = f"{line}-{number}-{seed}"
    dataset = on("imdb") | {"splits": {"train": number, "validation": 5_000, "test": 25_000}, "validation": "films"}
    options = config(seed=seed, output_dir=f"runs/{name}", train_examples=number)
    made = {"model": name, "seed": seed, "dataset": dataset, "metrics": scored(accuracy, 0.99), "config": options}
    return result(**made | changes)


CURVE = [
    few("lstm", 500, 0, 0.80),
    few("lstm", 500, 1, 0.70),
    few("lstm", 2_000, 0, 0.85),
    few("nb-tfidf", 500, 0, 0.82, model_type="tfidf"),
]


def test_runs_on_few_labels_are_a_curve_and_no_rows_of_the_table(tmp_path):
    found = {name: list(line) for name, line in lines(CURVE).items()}
    assert found == {"lstm": [500, 2_000], "nb-tfidf": [500]}
    shown = labels([*CURVE, NEW], "imdb")
    assert "| model | 500 | 2,000 |" in shown and "(pictures/imdb-labels.png)" in shown
    assert "| lstm | 0.7500 (0.7000, 0.8000) | 0.8500 |" in shown and "| nb-tfidf | 0.8200 | – |" in shown
    text = section([*CURVE, *RANDOM, NEW], "imdb", ["lstm-500", "lstm-100"])
    assert shown in text and text.count("| lstm") == 1 and "Not run: lstm-100." in text
    assert "lstm" not in headline([*CURVE, NEW]) + summary({"imdb": [*CURVE, NEW]})
    assert labels([NEW], "imdb") == ""
    draw([*CURVE, NEW], tmp_path, "imdb")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"imdb-{name}.png" for name in ("latency", "size", "curves", "labels")
    }
    with Image.open(tmp_path / "imdb-labels.png") as picture:
        assert picture.info["Description"] == digest([*CURVE, NEW])


def test_the_points_of_a_curve_share_a_section_of_a_users_report(tmp_path, monkeypatch):
    assert by_data([*CURVE, NEW]) == [CURVE, [NEW]]
    monkeypatch.chdir(tmp_path)
    report.write(report.prefixed(by_data(CURVE)), tmp_path)
    assert "# imdb\n\n\n### The number of labels" in (tmp_path / "RESULTS.md").read_text()
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["imdb-labels.png"]


def test_two_models_that_would_be_one_point_are_named():
    with pytest.raises(ValueError, match="lstm-500 and lstm are both of 500 labels"):
        lines([CURVE[0], few("lstm", 500, 0, 0.5) | {"model": "lstm-0", "model_type": "rnnzoo-gru"}])


def test_a_card_is_not_compared_with_runs_on_few_labels(monkeypatch):
    run = zoo.checkpoints()[zoo.ROOT / "model_cards" / "lstm-imdb"]
    before, found = zoo.card_of(run), zoo.committed()
    some = run | {"model": "lstm-500-1", "seed": 1, "config": run["config"] | {"seed": 1, "train_examples": 500}}
    monkeypatch.setattr(zoo, "committed", lambda: found | {"imdb": [*found["imdb"], some]})
    assert zoo.card_of(run) == before


@pytest.mark.parametrize("folder", zoo.checkpoints(), ids=lambda folder: folder.name)
def test_a_card_tells_the_seeds_of_its_own_model(folder):
    run = zoo.checkpoints()[folder]
    name, metric = run["model"].rpartition("-")[0], run["description"]["metric"]
    scores = {
        other["seed"]: other["metrics"]["test"][metric]
        for other in zoo.committed()[run["dataset"]["name"]]
        if other["model"].rpartition("-")[0] == name
    }
    seeds = f"Seeds {', '.join(map(str, sorted(scores)))}: test {metric} {mean(scores.values()):.4f} on average"
    assert (seeds if len(scores) > 1 else "One seed was run") in zoo.card_of(run)


# ---- the parts of a training ----


def test_parts_are_compared_with_the_base_on_validation():
    runs = [
        part("both", 0.93, word_vectors="word2vec", ema=0.999),
        part("vectors", 0.91, word_vectors="word2vec"),
        part("base", 0.90, adversarial_epsilon=0.05, word_vectors=None),
        part("average", 0.89, ema=0.999, adversarial_epsilon=0.05),
        part("average", 0.90, seed=1, ema=0.999, adversarial_epsilon=0.05),
        part("wide", 0.905, adversarial_epsilon=0.05, model={"hidden_size": 9}, virtual=0.0, unlabelled=True),
    ]
    for run in runs[:2]:
        run["config"]["adversarial_epsilon"] = 0.05
    shown = parts(runs)
    assert [line for line in shown.splitlines() if line.startswith("|")] == [
        "| model | changed from base | with the parts | validation accuracy, mean (from, to) | points | seeds "
        "| minutes |",
        "|---|---|---|---|---|---|---|",
        "| base | – | – | 0.9000 | – | 0 | 2 |",
        "| both | word_vectors word2vec; ema 0.999 | vectors, average | 0.9300 | +3.0 | 0 | 2 |",
        "| vectors | word_vectors word2vec | – | 0.9100 | +1.0 | 0 | 2 |",
        "| wide | model.hidden_size 9; unlabelled yes | – | 0.9050 | +0.5 | 0 | 2 |",
        "| average | ema 0.999 | – | 0.8950 (0.8900, 0.9000) | -0.5 | 0, 1 | 2 |",
    ]
    assert (
        "validation (films) of 5,000 examples; test was not evaluated. One accuracy is known to ±0.8 points" in shown
    )
    assert parts(runs) in section(runs, "imdb") and parts([NEW, *CURVE]) == ""


def test_the_precision_of_the_arithmetic_is_no_part():
    vectors = part("vectors", 0.91, word_vectors="word2vec") | {"mixed_precision": "bf16"}
    shown = parts([part("base", 0.9), vectors, part("both", 0.93, word_vectors="word2vec", ema=0.999)])
    assert "| vectors | word_vectors word2vec; mixed_precision bf16 | – |" in shown
    assert "| both | word_vectors word2vec; ema 0.999 | vectors |" in shown


def test_what_the_base_has_and_a_run_lacks_is_a_change():
    base = part("base", 0.9, patience=3, model={"pooling": "max", "hidden_size": 8}, adversarial_epsilon=0.05)
    run = part("less", 0.9, patience=None, model={"hidden_size": 8}, adversarial_epsilon=0.0)
    assert "| less | patience no; adversarial_epsilon 0.0; model.pooling no |" in parts([base, run])
    assert "| less | – | – | 0.9000 | – |" in parts([run]), "without a base there is nothing to differ from"


def test_a_part_from_a_checkpoint_shows_what_that_brought_along_and_its_minutes():
    fields = {"model": {"hidden_size": 8, "pooling": "max"}, "tokenizer": {"vocab_size": 90}}
    base = part("base", 0.9, model_name_or_path=None, **fields)
    run = part("from", 0.92, model_name_or_path="runs/before", model={"pooling": "max"}, tokenizer={})
    run["model_config"] = {"hidden_size": 16, "pooling": "max", "vocab_size": 90, "window": None}
    run["started_from"] = {"train_seconds": 600.0}
    assert "| from | model.hidden_size 16; model_name_or_path runs/before | – | 0.9200 | +2.0 | 0 | 2 + 10 |" in parts(
        [base, run]
    )


def test_a_part_with_a_wide_part_says_what_that_achieves_alone():
    runs = [part("base", 0.9), part("wide", 0.92, **{"model.wide_size": 512}) | {"wide": {"validation": 0.9125}}]
    heading, _, *rows = parts(runs).splitlines()
    place = heading.split("|").index(" its wide part alone ")
    assert [row.split("|")[place].strip() for row in rows[:2]] == ["–", "0.9125"]
    assert "wide part" not in parts(runs[:1])


def test_parts_on_other_examples_have_a_table_of_their_own():
    other = part("base", 0.8)
    del other["dataset"]["validation"]
    assert parts([part("base", 0.9), other]).count("| model |") == 2


def test_taggers_have_parts_too():
    run = tagger("base-0", 0.9, dataset=on("conll2003"))
    del run["metrics"]["test"]
    run["config"]["validation_only"] = True
    shown = parts([run])
    assert "validation f1, mean" in shown and "known to" not in shown and "unseen" not in shown
    new = tagger("new-0", 0.8, dataset=on("conll2003"))
    new["config"]["validation_only"] = True
    new["metrics"] = {"validation": new["metrics"]["validation"] | {"by_words_of_train": {"unseen": {"f1": 0.4321}}}}
    new |= {"outside_score": 0.5, "best_epoch": 2, "history": [{"validation": {"f1": f1}} for f1 in (0.1, 0.7654)]}
    heading, _, *rows = parts([run, new]).splitlines()
    places = [[cell.strip() for cell in row.split("|")] for row in (heading, *rows[:2])]
    for column, wanted in (("f1, unseen names", "0.4321"), ("f1, O untuned", "0.7654")):
        column = places[0].index(column)
        assert [row[column] for row in places[1:]] == ["–", wanted]


def test_a_row_stands_beside_its_plain_run_which_has_no_test_score():
    def scores(f1, unseen):
        return {"f1": f1, "by_words_of_train": {"unseen": {"f1": unseen}}}

    runs = [tagger(f"rnn-{seed}", 0, dataset=on("conll2003")) for seed in (0, 1)]
    for run, f1 in zip(runs, (0.8, 0.9), strict=True):
        run["metrics"] = {"validation": scores(f1, f1 / 2), "test": scores(0.3, 0.2)}
        run["latency"] = {"milliseconds": 1.0, "words_per_second": 12345.6}
    plain = tagger("rnn-plain-0", 0, dataset=on("conll2003"), config=config(validation_only=True))
    plain["metrics"] = {"validation": scores(0.7, 0.25)}
    alone = plain | {"model": "gru-plain-0"}
    assert beside_plain([plain, alone], runs).splitlines()[2:3] == [
        "| rnn | 0.7000 | 0.8500 | 0.2500 | 0.4250 | – | 12,346 | 0, 1 |"
    ]
    assert "gru" not in beside_plain([plain, alone], runs) and beside_plain([alone], runs) == ""
    context = plain | {"model": "rnn-context-0"}
    assert "| rnn | 0.7000 | 0.8500 | 0.2500 | 0.4250 | – | 12,346 | 0, 1 |" in beside_context([context, plain], runs)
    assert beside_context([plain], runs) == ""
