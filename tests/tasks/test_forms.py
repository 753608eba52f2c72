"""Names that follow rules of form, none of which train and test share: what the data is, and that they are found."""

from recipes.ner import TASK
from rnnzoo.data.synthetic import forms
from tests.support.recipes import run


def spans(row):
    """Names as words, with their types."""
    found = []
    for word, tag in zip(row["tokens"], row["tags"], strict=True):
        if tag[0] == "B":
            found.append((tag[2:], [word]))
        elif tag[0] == "I":
            found[-1][1].append(word)
    return found


def test_no_name_or_ordinary_word_of_test_stands_in_train():
    splits = forms.make_sentences(seed=3)
    assert {name: len(rows) for name, rows in splits.items()} == forms.SPLITS
    fixed = {word for template in forms.TEMPLATES for word in template.split()}
    first = {}
    for split, rows in splits.items():
        names = {words[0] for row in rows for _, words in spans(row)}
        ordinary = {
            word for row in rows for word, tag in zip(row["tokens"], row["tags"], strict=True) if tag == "O"
        } - fixed
        first[split] = names | ordinary
        assert {kind for row in rows for kind, _ in spans(row)} == set(forms.TYPES)
        assert len(names) > 200 and len(ordinary) > 50 and not names & ordinary
    assert not first["train"] & first["test"] and not first["train"] & first["validation"]
    assert splits["train"][:] == forms.make_sentences(seed=3)["train"][:] != forms.make_sentences(seed=4)["train"][:]


def test_a_tagger_of_a_users_own_finds_names_that_it_has_never_seen(tmp_path):
    """With the options of `rnnzoo train`, but for its brevity."""
    forms.main(tmp_path / "forms")
    brief = {"num_train_epochs": 2, "num_threads": 1, "validation_only": True}
    results = run(TASK, tmp_path / "run", tmp_path / "forms", **TASK.defaults | brief)
    found = results["metrics"]["validation"]["by_words_of_train"]
    assert found["seen"]["number"] == 0 and found["unseen"]["number"] > 400
    assert found["unseen"]["recall"] >= 0.8
