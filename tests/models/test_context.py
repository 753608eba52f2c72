"""The context of words: a frozen character language model against a plain loop, in batches, chunks and checkpoints."""

import pytest
import torch
from transformers import AutoModelForTokenClassification

import rnnzoo
from rnnzoo import context_rnnzoo, modeling_rnnzoo


ROWS = [[[5, 3, 9], [7], [2, 2, 2, 2, 2, 2]], [[4]], [], [[], [8, 1]]]
H, LONGEST = 3, 6
FIELDS = {"vocab_size": 20, "embedding_size": 4, "hidden_size": 5, "num_labels": 3}
FIELDS |= {"context_size": H, "context_embedding_size": 4, "character_vocab_size": 12}


@torch.no_grad()
def tagger(**changes):
    """Every weight random."""
    model = rnnzoo.GRUForTokenClassification(rnnzoo.GRUConfig(**FIELDS | changes)).eval()
    for parameter in model.parameters():
        parameter.normal_(std=0.7)
    return model


def batch(rows, width, left=False):
    """Ids of words, those of their characters, and the mask, with ids in the padding that must not be read."""
    characters = torch.randint(1, 12, (len(rows), width, LONGEST))
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        for place, word in enumerate(row, start=width - len(row) if left else 0):
            characters[number, place] = torch.tensor(word + [0] * (LONGEST - len(word)))
            mask[number, place] = 1
    ids = torch.full_like(mask, 7)
    return {"input_ids": ids, "character_ids": characters, "attention_mask": mask}


def by_reading(encoder, row):
    """The context of each word, from a loop over the characters of the row, one direction after the other."""
    text = [0] + [character for word in row for character in (*word, 0)]
    ends = [place for place, character in enumerate(text) if character == 0]
    before = states(encoder.forward_direction, encoder.embed_characters.weight[text])
    after = states(encoder.backward_direction, encoder.embed_characters.weight[text[::-1]])[::-1]
    return [torch.cat([before[ends[t + 1]], after[ends[t]]]) for t in range(len(row))]


def states(direction, vectors):
    h, c, found = torch.zeros(H), torch.zeros(H), []
    for x in vectors:
        z = direction.weight_ih @ x + direction.bias_ih + direction.weight_hh @ h + direction.bias_hh
        i, f, g, o = z.split(H)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        found.append(h)
    return found


def read(model, **inputs):
    """The features that a backbone adds to the word vectors: of words, and all."""
    found = model.base_model(**inputs, output_hidden_states=True).hidden_states[0]
    return found[..., -2 * H :]


@pytest.mark.parametrize("chunk", [context_rnnzoo.CHUNK, 1, 4])
@pytest.mark.parametrize("left", [False, True])
@torch.no_grad()
def test_the_context_of_a_word_is_what_a_loop_over_the_characters_finds(chunk, left, monkeypatch):
    monkeypatch.setattr(context_rnnzoo, "CHUNK", chunk)
    model = tagger()
    inputs = batch(ROWS, 5, left)
    found = read(model, **inputs)
    for row, vectors, real in zip(ROWS, found, inputs["attention_mask"].bool(), strict=True):
        assert not vectors[~real].any()
        for vector, expected in zip(vectors[real], by_reading(model.base_model.context_encoder, row), strict=True):
            torch.testing.assert_close(vector, expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_rows_of_several_chunks_have_the_context_of_the_complete_row(monkeypatch):
    model, inputs = tagger(bidirectional=True), batch(ROWS[:2], 3)
    expected = model(**inputs).logits
    monkeypatch.setattr(modeling_rnnzoo, "CHUNK", 2)
    torch.testing.assert_close(model(**inputs).logits, expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_each_sentence_of_a_text_has_a_context_of_its_own():
    model = tagger(sentence_token_id=3)
    together, alone = batch([[[5, 3], [1], [7, 2]]], 3), batch([[[7, 2]]], 1)
    together["input_ids"][0, 1] = 3  # the end of a sentence
    torch.testing.assert_close(model(**together).logits[:, 2:], model(**alone).logits, rtol=0, atol=1e-6)


def test_training_leaves_it_alone():
    model = tagger(character_size=4, embedding_dropout=0.3).train()
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if ".context_encoder." in name} and len(frozen) == 9
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
    model(**batch(ROWS, 5), labels=torch.zeros(4, 5, dtype=torch.long)).loss.backward()
    optimizer.step()
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name]) == (name in frozen), name
        assert (weight.grad is None) == (name in frozen), name


def test_a_loaded_tagger_answers_the_same_and_keeps_it_frozen(tmp_path):
    model, inputs = tagger(), batch(ROWS, 5)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    assert not any(weight.requires_grad for weight in loaded.base_model.context_encoder.parameters())


@pytest.mark.parametrize("strict", [True, False])
@torch.no_grad()
def test_exports_with_free_batch_and_length(strict):
    model = tagger(character_size=4, use_crf=True)
    example = tuple(batch(ROWS, 5)[name] for name in ("input_ids", "attention_mask", "character_ids"))
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    free = dict.fromkeys(("input_ids", "attention_mask", "character_ids"), sizes)
    kwargs = dict(zip(free, example, strict=True))
    program = torch.export.export(model, (), kwargs, dynamic_shapes=free, strict=strict).module()
    for rows in ROWS, [[[3, 4], [5]]]:
        inputs = batch(rows, 4)
        torch.testing.assert_close(program(**inputs).to_tuple(), model(**inputs).to_tuple(), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_compiled_it_finds_the_same():
    model, inputs = tagger(), batch(ROWS, 5)
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(compiled(**inputs).logits, model(**inputs).logits, rtol=0, atol=1e-5)


def test_what_it_cannot_do_is_refused():
    model, inputs = tagger(), batch(ROWS, 5)
    with pytest.raises(ValueError, match="reads the characters of each word, but character_ids are missing"):
        model(inputs["input_ids"])
    state = model(**inputs).final_state
    with pytest.raises(ValueError, match="context_size=3 cannot continue from an initial_state: its character"):
        model(**inputs, initial_state=state)
