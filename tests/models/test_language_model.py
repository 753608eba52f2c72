"""Language models: generate() with a state and without, batches, continuing, the loss, and what is refused."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, DynamicCache, LogitsProcessor

from rnnzoo import FAMILIES, LSTMConfig, LSTMForCausalLM
from rnnzoo.modeling_rnnzoo_lm import RecurrentCache
from tests.conftest import HEADS, SMALL


MODELS = [head for head in HEADS if head.auto is AutoModelForCausalLM]
MODES = {
    "greedy": {},
    "sampling": {"do_sample": True},
    "several samples": {"do_sample": True, "num_return_sequences": 3},
    "beams": {"num_beams": 4, "num_return_sequences": 2},
    "sampled beams": {"num_beams": 3, "do_sample": True},
}
close = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(params=MODELS, ids=lambda head: head.name)
def language_model(request):
    """One of each family, two layers, with weights that make its choices depend on all that it has read."""
    return request.param.model(num_hidden_layers=2)


@pytest.fixture
def prompts():
    """A batch padded on the left, as generate() wants it, and its mask."""
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 0, 1, 1], [0, 1, 1, 1, 1]])
    return torch.randint(3, SMALL["vocab_size"], mask.shape) * mask, mask


def generated(model, ids, mask=None, **options):
    torch.manual_seed(1)
    mask = torch.ones_like(ids) if mask is None else mask
    return model.generate(ids, attention_mask=mask, **{"max_new_tokens": 12, "do_sample": False} | options)


@pytest.mark.parametrize("mode", MODES)
def test_generating_with_a_state_equals_reading_everything_again(language_model, prompts, mode):
    found = generated(language_model, *prompts, **MODES[mode])
    assert torch.equal(found, generated(language_model, *prompts, use_cache=False, **MODES[mode]))
    assert len(found.unique(dim=0)) > 1


def test_a_token_costs_one_step_whatever_came_before_it(language_model, prompts):
    read = []
    language_model.backbone.register_forward_hook(
        lambda module, args, out: read.append(out.last_hidden_state.shape[1])
    )
    generated(language_model, *prompts)
    assert read == [5] + [1] * 11


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_a_left_padded_prompt_is_continued_as_if_it_were_alone(prompts, tied):
    for head in MODELS:
        model = head.model(num_hidden_layers=2, tie_word_embeddings=tied)
        ids, mask = prompts
        scores = generated(model, ids, mask, output_logits=True, return_dict_in_generate=True)
        for i, real in enumerate(mask.bool()):
            alone = generated(model, ids[i : i + 1, real], output_logits=True, return_dict_in_generate=True)
            assert torch.equal(alone.sequences[0, -12:], scores.sequences[i, -12:])
            for ours, its in zip(alone.logits, scores.logits, strict=True):
                torch.testing.assert_close(ours[0], its[i], **close)


def test_a_returned_state_continues_the_text_and_can_be_used_again(language_model, prompts):
    ids, mask = prompts
    complete = generated(language_model, ids, mask)
    start = generated(language_model, ids, mask, max_new_tokens=4, return_dict_in_generate=True)
    longer = torch.cat([mask, mask.new_ones(3, 4)], dim=1)
    for _ in range(2):
        rest = generated(
            language_model, start.sequences, longer, past_key_values=start.past_key_values, max_new_tokens=8
        )
        assert torch.equal(rest, complete)
    out = language_model(complete[:, :9], attention_mask=longer)
    cache = RecurrentCache(out.final_state, 9)
    again = generated(
        language_model,
        complete[:, :10],
        nn.functional.pad(longer, (0, 1), value=1),
        past_key_values=cache,
        max_new_tokens=7,
    )
    assert torch.equal(again, complete)


@pytest.mark.parametrize("mode", ["several samples", "beams"])
def test_a_text_that_was_read_once_is_continued_several_times(language_model, prompts, mode):
    ids, mask = prompts
    expected = generated(language_model, ids, mask, **MODES[mode])
    cache = language_model(ids[:, :-1], attention_mask=mask[:, :-1], use_cache=True).past_key_values
    cache.batch_repeat_interleave(MODES[mode].get("num_beams", MODES[mode]["num_return_sequences"]))
    assert torch.equal(generated(language_model, ids, mask, past_key_values=cache, **MODES[mode]), expected)


def test_word_vectors_and_no_prompt_begin_a_text_too(language_model, prompts):
    ids, mask = prompts
    vectors = language_model.get_input_embeddings()(ids)
    found = language_model.generate(inputs_embeds=vectors, attention_mask=mask, max_new_tokens=12, do_sample=False)
    assert torch.equal(found, generated(language_model, ids, mask)[:, 5:])
    begun = generated(language_model, torch.tensor([[language_model.config.bos_token_id]]))
    assert torch.equal(language_model.generate(max_new_tokens=12, do_sample=False), begun)


class Banned(LogitsProcessor):
    """Forbids a token."""

    def __init__(self, token):
        self.token = token

    def __call__(self, input_ids, scores):
        return scores.index_fill(1, torch.tensor([self.token]), -torch.inf)


def test_transformers_processors_and_streamers_apply(prompts):
    model = MODELS[0].model()
    ids = prompts[0][:1]
    token = generated(model, ids)[0, 5].item()
    pieces = []

    class Streamer:
        def put(self, tokens):
            pieces.extend(tokens.flatten().tolist())

        def end(self):
            pieces.append("end")

    found = generated(model, ids, logits_processor=[Banned(token)], streamer=Streamer())
    assert token not in found[0, 5:] and pieces == [*found[0].tolist(), "end"]


# ---- the output layer and the loss ----


@pytest.mark.parametrize("embedding_size", [4, 5], ids=["of the same width", "projected"])
def test_tied_output_weights_are_the_word_vectors(embedding_size, tmp_path, ids):
    model = MODELS[-1].model(tie_word_embeddings=True, embedding_size=embedding_size)
    vectors = model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is vectors
    assert (model.projection is None) == (embedding_size == SMALL["hidden_size"])
    y = model.backbone(ids).last_hidden_state
    projected = y if model.projection is None else y @ model.projection.weight.T
    torch.testing.assert_close(model(ids).logits, projected @ vectors.T + model.lm_head.bias, **close)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight
    assert torch.equal(again(ids).logits, model(ids).logits)


def test_the_loss_is_the_mean_over_real_tokens_that_follow_a_real_one(language_model, ids, mask):
    terms = []
    for row, real in zip(ids, mask.bool(), strict=True):
        for t in range(1, len(row)):
            if real[t] and real[t - 1]:
                read = row[:t][real[:t]]
                terms.append(-language_model(read[None]).logits[0, -1].log_softmax(0)[row[t]])
    found = language_model(ids, attention_mask=mask, labels=ids).loss
    torch.testing.assert_close(found, torch.stack(terms).mean(), **close)


def test_chunks_continued_from_a_state_have_the_losses_of_the_complete_text(language_model, ids):
    labels = nn.functional.pad(ids[:, 1:], (0, 1), value=-100)
    complete = language_model(ids, labels=ids).loss
    state, total = None, 0
    for part in (slice(0, 2), slice(2, 3), slice(3, 6)):
        out = language_model(ids[:, part], shift_labels=labels[:, part], initial_state=state)
        total, state = total + out.loss * (labels[:, part] != -100).sum(), out.final_state
    torch.testing.assert_close(total / (labels != -100).sum(), complete, **close)


def test_logits_are_computed_for_the_tokens_that_are_asked_for(language_model, ids, mask):
    every = language_model(ids, attention_mask=mask).logits
    for kept, places in ((1, [-1]), (3, [-3, -2, -1]), (torch.tensor([0, 4]), [0, 4])):
        found = language_model(ids, attention_mask=mask, logits_to_keep=kept).logits
        torch.testing.assert_close(found, every[:, places], **close)


@pytest.mark.parametrize("embedding_size", [4, 5], ids=["of the same width", "projected"])
def test_the_estimated_loss_and_its_gradients_are_those_of_a_softmax_over_the_labels(embedding_size, ids, mask):
    model = MODELS[-1].model(tie_word_embeddings=True, embedding_size=embedding_size).double()
    frequencies = torch.rand(SMALL["vocab_size"], dtype=torch.double)
    frequencies /= frequencies.sum()
    out = model(ids, attention_mask=mask, labels=ids, token_frequencies=frequencies)
    assert out.logits.shape == (*ids.shape[:1], 0, SMALL["vocab_size"])
    logits, terms, real = model(ids, attention_mask=mask).logits, [], mask.bool()
    pairs = [(i, t) for i in range(len(ids)) for t in range(ids.shape[1] - 1) if real[i, t] and real[i, t + 1]]
    words = sorted({ids[i, t + 1].item() for i, t in pairs})
    q = (1 - (1 - frequencies[words]) ** len(pairs)).log()
    for i, t in pairs:
        terms.append(-(logits[i, t, words] - q).log_softmax(0)[words.index(ids[i, t + 1])])
    wanted = torch.stack(terms).mean()
    torch.testing.assert_close(out.loss, wanted)
    weights = [p for p in model.parameters() if p.requires_grad]
    for ours, plain in zip(torch.autograd.grad(out.loss, weights), torch.autograd.grad(wanted, weights), strict=True):
        torch.testing.assert_close(ours, plain)
    counted = model(ids, attention_mask=mask, labels=ids, token_frequencies=frequencies, num_items_in_batch=50).loss
    torch.testing.assert_close(counted * 50, wanted * len(pairs))
    uncounted = model(ids, attention_mask=mask, labels=ids, token_frequencies=frequencies, num_items_in_batch=None)
    torch.testing.assert_close(uncounted.loss, wanted)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"bidirectional": True},
            "bidirectional=True: its backward direction would read the token that it is to predict",
        ),
        ({"character_size": 4}, "character_size=4: generate.. makes ids of tokens"),
        ({"context_size": 4}, "context_size=4: the context of a word also comes from the words after it"),
    ],
    ids=["two directions", "characters", "context"],
)
def test_a_model_that_cannot_predict_the_next_token_is_refused(fields, says):
    with pytest.raises(ValueError, match=says):
        LSTMForCausalLM(LSTMConfig(**fields))


def test_a_family_that_reads_both_ways_has_no_language_model():
    assert [name for name, family in FAMILIES.items() if AutoModelForCausalLM not in family.models] == ["BiRNN"]


def test_tokens_drafted_by_a_model_or_from_the_prompt_are_refused(prompts):
    model = MODELS[0].model()
    for draft in ({"assistant_model": model}, {"prompt_lookup_num_tokens": 2}):
        with pytest.raises(ValueError, match="assisted generation is not supported with stateful models"):
            generated(model, prompts[0][:1], **draft)


def test_two_states_are_refused(language_model, ids):
    out = language_model(ids, use_cache=True)
    with pytest.raises(ValueError, match="either past_key_values or initial_state"):
        language_model(ids, past_key_values=out.past_key_values, initial_state=out.final_state)


def test_an_estimated_loss_without_labels_is_refused(ids):
    model = MODELS[0].model()
    with pytest.raises(ValueError, match="token_frequencies are for a loss, and there are no labels"):
        model(ids, token_frequencies=torch.ones(SMALL["vocab_size"]))


def test_a_cache_of_keys_and_values_is_refused(ids):
    with pytest.raises(ValueError, match="past_key_values is a DynamicCache, and this model continues from the one"):
        MODELS[0].model()(ids, past_key_values=DynamicCache())
