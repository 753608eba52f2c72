"""recipes.report.describe: older results are told what they do not say of their task, and nothing else changes."""

import json

import pytest

from recipes.report import describe
from recipes.report.committed import RESULTS
from recipes.report.runs import read
from rnnzoo.data.errors import RecipeError
from tests.support.results import result, tagger


ADDED = ("kind", "description", "incidental_options")


def older(results):
    """Results as runs wrote them before they described their task."""
    return {name: value for name, value in results.items() if name not in ADDED}


@pytest.mark.parametrize("results", [result(), tagger("t-0", 0.5)], ids=["imdb", "ner"])
def test_older_results_gain_what_newer_ones_say_and_keep_their_values(tmp_path, results):
    file = tmp_path / "results.json"
    file.write_text(json.dumps(older(results)))
    # The report reads them alike, rewritten or not.
    assert read(file) == results
    describe.main([str(file)])
    once = file.read_text()
    assert json.loads(once) == results
    assert list(json.loads(once))[:3] == ["task", "kind", "description"]
    describe.main([str(file)])
    assert file.read_text() == once


def test_what_results_say_themselves_stays(tmp_path):
    own = result(kind="another kind", incidental_options=["seed"])
    del own["description"]
    found = describe.described(own)
    assert (found["kind"], found["incidental_options"]) == ("another kind", ["seed"])


def test_benchmarks_are_left_alone(tmp_path):
    file = tmp_path / "speed.json"
    file.write_text((RESULTS / "speed.json").read_text())
    describe.main([str(file)])
    assert file.read_text() == (RESULTS / "speed.json").read_text()


@pytest.mark.parametrize("name", ["painting", "../imdb", "tasks"])
def test_results_of_an_unknown_task_are_refused_with_its_name(tmp_path, name):
    file = tmp_path / "results.json"
    file.write_text(json.dumps(older(result()) | {"task": name}))
    for action in (read, lambda path: describe.main([str(path)])):
        with pytest.raises(RecipeError, match=f"the task '{name}', and there is no recipes/{name}.py with a TASK"):
            action(file)
