"""The wide part of sequence classifiers: its logits against sets of words and pairs, padding, saving, refusals."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rnnzoo import LSTMConfig, LSTMForSequenceClassification, modeling_rnnzoo
from rnnzoo.wide_rnnzoo import Wide, distinct_buckets
from tests.conftest import SMALL


SIZE = 23  # so few that buckets collide


def bucket(before, word):
    """Of a pair, or of a word with nothing before it, whose place a -1 takes; in Python's integers of any size."""
    return (1_566_083_941 * (before + 1) + 1_812_433_253 * (word + 1)) % (2**31 - 1) % SIZE


def plain(wide, row):
    """The logits of one row, a list of ids."""
    words = {bucket(-1, word) for word in row}
    found = words | {bucket(before, word) for before, word in zip(row, row[1:], strict=False)}
    total = sum((wide.weight[b] for b in found), torch.zeros(wide.weight.shape[1])) / max(1, len(found)) ** 0.5
    if len(total) == 1:  # the margin of the second of two classes
        total = torch.stack([-total[0] / 2, total[0] / 2])
    return wide.scale * total


def models(classifier, **changes):
    """A classifier with a wide part, and the same network without one."""
    model, without = classifier.model(wide_size=SIZE, **changes), classifier.model(**changes)
    without.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("wide.")})
    return model, without


def of_wide(model, without, *inputs, **more):
    with torch.no_grad():
        return model(*inputs, **more).logits - without(*inputs, **more).logits


@pytest.mark.parametrize("window", [None, 3])
def test_its_logits_are_those_of_the_sets_of_words_and_pairs(classifier, ids, mask, window):
    """Whatever the padding is, between words too, and whatever lies in it; none for an empty row."""
    model, without = models(classifier, window=window)
    rows = [row[real.bool()].tolist()[-(window or 99) :] for row, real in zip(ids, mask, strict=True)]
    expected = torch.stack([plain(model.wide, row) for row in rows])
    assert not rows[-1] and not expected[-1].any() and expected[:-1].any(1).all()
    ids = torch.where(mask.bool(), ids, torch.tensor([-100, 10**9])[torch.randint(2, ids.shape)])
    torch.testing.assert_close(of_wide(model, without, ids, attention_mask=mask), expected, rtol=1e-5, atol=1e-5)
    full = of_wide(model, without, ids[:1])  # without a mask
    torch.testing.assert_close(full, expected[:1], rtol=1e-5, atol=1e-5)


def test_repeated_words_and_collisions_count_once():
    row = [5, 5, 5, 7, 5, 7] + list(range(40))  # more than there are buckets
    buckets, first = distinct_buckets(torch.tensor([row]), None, SIZE)
    assert buckets[first].tolist() == sorted(set(buckets[0].tolist())) and first.sum() <= SIZE
    for num_labels, columns in ((2, 1), (3, 3)):
        wide = Wide(SIZE, num_labels)
        torch.nn.init.normal_(wide.weight)
        assert wide.weight.shape == (SIZE, columns)
        torch.testing.assert_close(wide(torch.tensor([row]), None)[0], plain(wide, row))


def test_the_largest_ids_do_not_overflow():
    row = [2**31 - 2, 2**31 - 1, 0, 2**31 - 1]
    buckets, first = distinct_buckets(torch.tensor([row]), None, SIZE)
    found = {bucket(-1, word) for word in row} | {bucket(a, b) for a, b in zip(row, row[1:], strict=False)}
    assert set(buckets[first].tolist()) == found


def test_order_counts():
    found = [set(distinct_buckets(torch.tensor([row]), None, 2**20)[0][0].tolist()) for row in ([3, 4], [4, 3])]
    assert len(found[0] & found[1]) == 2 and found[0] != found[1]


def test_a_row_answers_in_any_batch_as_alone(classifier):
    model = classifier.model(wide_size=SIZE)
    rows = [torch.randint(3, SMALL["vocab_size"], (length,)) for length in (1, 40, 7, 0)]
    for left in (False, True):
        batch, mask = torch.zeros(2, len(rows), 43, dtype=torch.long)
        for i, row in enumerate(rows):
            place = slice(43 - len(row), 43) if left else slice(len(row))
            batch[i, place], mask[i, place] = row, 1
        with torch.no_grad():
            together = model(batch, attention_mask=mask).logits
            alone = torch.cat([model(row[None]).logits for row in rows])
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_long_rows_that_are_read_in_chunks(monkeypatch):
    model = LSTMForSequenceClassification(LSTMConfig(**SMALL, wide_size=SIZE, bidirectional=True)).eval()
    torch.nn.init.normal_(model.wide.weight)
    ids = torch.randint(3, SMALL["vocab_size"], (2, 50))
    with torch.no_grad():
        at_once = model(ids).logits
        monkeypatch.setattr(modeling_rnnzoo, "CHUNK", 7)
        torch.testing.assert_close(model(ids).logits, at_once, rtol=1e-5, atol=1e-5)


def test_it_is_saved_and_a_new_one_answers_nothing(classifier, ids, mask, tmp_path):
    model, without = models(classifier)
    model.save_pretrained(tmp_path / "with")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "with")
    assert torch.equal(again(ids, attention_mask=mask).logits, model(ids, attention_mask=mask).logits)
    assert again.config.wide_size == SIZE
    without.save_pretrained(tmp_path / "without")
    new = AutoModelForSequenceClassification.from_pretrained(tmp_path / "without", wide_size=SIZE)
    assert torch.equal(new(ids, attention_mask=mask).logits, without(ids, attention_mask=mask).logits)
    assert not new.wide.weight.any() and new.wide.scale.tolist() == [1.0]


def test_the_same_seed_gives_the_same_network_with_and_without_it():
    networks = []
    for size in (0, SIZE):
        torch.manual_seed(0)
        networks.append(LSTMForSequenceClassification(LSTMConfig(**SMALL, wide_size=size)).state_dict())
    plain_network, with_wide = networks
    assert with_wide.keys() - plain_network.keys() == {"wide.weight", "wide.scale"}
    assert all(torch.equal(with_wide[name], weight) for name, weight in plain_network.items())


def test_in_training_some_rows_are_classified_without_it(classifier, ids):
    """So many as `wide_dropout` says, each with all of the logits or none; in evaluation every row has them."""
    model, without = models(classifier, wide_dropout=0.25)
    rows = ids[:1].repeat(4000, 1)
    everywhere = of_wide(model, without, rows)
    found = of_wide(model.train(), without.train(), rows)
    dropped = (found == 0).all(1)
    assert everywhere.any(1).all() and 0.22 < dropped.float().mean() < 0.28
    torch.testing.assert_close(found[~dropped], everywhere[~dropped], rtol=1e-4, atol=1e-5)


def test_wide_logits_take_its_place(classifier, ids, mask):
    model, without = models(classifier)
    given = torch.randn(len(ids), SMALL["num_labels"])
    with torch.no_grad():
        found = model(ids, attention_mask=mask, wide_logits=given).logits - without(ids, attention_mask=mask).logits
        vectors = model.get_input_embeddings()(ids)
        from_vectors = model(inputs_embeds=vectors, attention_mask=mask, wide_logits=given).logits
        torch.testing.assert_close(from_vectors, model(ids, attention_mask=mask, wide_logits=given).logits)
    torch.testing.assert_close(found, model.wide.scale * given, rtol=1e-5, atol=1e-5)


def test_it_can_be_trained_with_the_network(classifier, ids, mask):
    model = classifier.model(wide_size=SIZE)
    model(ids, attention_mask=mask, labels=torch.tensor([0, 1, 2, 0, 1, 2])).loss.backward()
    assert model.wide.weight.grad.any() and model.wide.scale.grad.any()


@pytest.mark.parametrize("window", [None, 3])
def test_it_exports_with_free_batch_and_length(window):
    model = LSTMForSequenceClassification(LSTMConfig(**SMALL, wide_size=SIZE, window=window)).eval()
    torch.nn.init.normal_(model.wide.weight)
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    program = torch.export.export(model, (torch.randint(3, 20, (2, 6)),), dynamic_shapes=(free,)).module()
    for shape in ((1, 4), (3, 9)):
        ids = torch.randint(3, 20, shape)
        torch.testing.assert_close(program(ids).logits, model(ids).logits, rtol=1e-5, atol=1e-5)


def test_refusals_say_what_to_do(classifier, ids):
    model, without = models(classifier, pooling="last")
    vectors, given = model.get_input_embeddings()(ids), torch.zeros(len(ids), SMALL["num_labels"])
    with pytest.raises(ValueError, match=f"wide_size={SIZE}.*give input_ids in place of inputs_embeds"):
        model(inputs_embeds=vectors)
    with pytest.raises(ValueError, match="wide_size=0: leave them out"):
        without(ids, wide_logits=given)
    with pytest.raises(ValueError, match=r"wide_logits have shape \(6, 2\); expected \(6, 3\)"):
        model(ids, wide_logits=given[:, :2])
    if not classifier.bidirectional:
        state = without(ids).final_state
        with pytest.raises(ValueError, match=f"wide_size={SIZE} cannot continue .*a model with wide_size=0"):
            model(ids, initial_state=state)
