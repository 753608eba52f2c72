"""transformers' common tests on the zoo: they end as explained, and what does not is noticed."""

from xml.etree import ElementTree

import pytest

from tests.support import transformers_common
from tests.support.transformers_common import EXPLAINED, Result, complaints, report, results


AS_EXPLAINED = [Result(*pattern.replace("*", "LSTM").split("::"), "failed", "no") for pattern in EXPLAINED]


@pytest.mark.slow
def test_every_failure_is_explained():
    assert transformers_common.main() == 0


def test_what_is_not_as_explained_is_noticed():
    assert complaints([*AS_EXPLAINED, Result("LSTMTest", "test_new", "passed")]) == []
    (unknown,) = complaints([*AS_EXPLAINED, Result("LSTMTest", "test_new", "failed", "1 is not 2")])
    assert "test_new fails" in unknown and "1 is not 2" in unknown
    first, *others = AS_EXPLAINED
    for outcome in "passed", "skipped":
        (fixed,) = complaints([first._replace(outcome=outcome), *others])
        assert f"{first.name} has {outcome}" in fixed
    (gone,) = complaints(others)
    assert "is the name of no test" in gone


def test_a_test_is_as_good_as_its_worst_part():
    part = "<skipped message=\"No use for &lt;class 'rnnzoo.LSTMModel'&gt;\"/>"
    other = '<skipped message="No use for LSTMForTokenClassification"/>'
    junit = ElementTree.fromstring(f"""<testsuites><testsuite>
        <testcase classname="tests.test_rnnzoo.LSTMTest" name="test_a"/>
        <testcase classname="tests.test_rnnzoo.LSTMTest" name="test_b_0_x">{part}{other}</testcase>
        <testcase classname="tests.test_rnnzoo.LSTMTest" name="test_b_1_y">{part}{other}</testcase>
        <testcase classname="tests.test_rnnzoo.LSTMTest" name="test_c">{part}<failure message="1 | 2"/></testcase>
        <testcase classname="tests.test_rnnzoo.LSTMTest" name="test_d"><error message="no file"/></testcase>
    </testsuite></testsuites>""")
    found = results(junit)
    assert [(result.test, result.outcome, result.said) for result in found] == [
        ("test_a", "passed", ""),
        ("test_b_0_x", "skipped", "No use for the model"),
        ("test_b_1_y", "skipped", "No use for the model"),
        ("test_c", "failed", "1 | 2"),
        ("test_d", "failed", "no file"),
    ]
    written = report(found)
    assert "**1 passed, 2 failed, 2 skipped.**" in written
    assert "| No use for the model | `test_b_*` (2) | all models |" in written
    assert "| 1 / 2 | `test_c` | all models |" in written
