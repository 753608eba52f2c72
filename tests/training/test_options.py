"""Options: values out of range are refused, and each says whether it decides what is learned."""

import math
from dataclasses import fields

import pytest

from rnnzoo.data.errors import RecipeError
from rnnzoo.training.options import Options, incidental
from rnnzoo.training.resume import settings
from tests.support.small_task import SmallOptions


OUT_OF_RANGE = {
    **dict.fromkeys(("batch_size", "eval_batch_size", "gradient_accumulation_steps", "num_train_epochs"), (0, -1)),
    **dict.fromkeys(("max_train_steps", "patience", "checkpointing_steps", "verify_rows"), (0,)),
    **dict.fromkeys(("max_length", "num_threads", "keep", "train_examples"), (0,)),
    "seed": (-1, 2**32),
    "learning_rate": (-1e-3, math.inf, math.nan),
    "weight_decay": (-0.1, math.inf),
    "warmup_ratio": (-0.1, 1.1),
    "adversarial_epsilon": (-0.1, 1.1, math.nan),
    "checkpointing_minutes": (-1.0, math.inf),
    "max_grad_norm": (0.0, -1.0, math.nan),
    "ema": (-0.1, 1.0, math.nan),
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused(name):
    for value in OUT_OF_RANGE[name]:
        with pytest.raises(RecipeError, match=f"^{name} is {value}: it must .*[0-9a-z]"):
            Options(**{name: value})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mixed_precision": "fp8"}, "mixed_precision is 'fp8': choose"),
        ({"lr_scheduler_type": "quadratic"}, "lr_scheduler_type is 'quadratic': choose"),
        ({"model_name_or_path": "runs/x", "model": {"model_type": "rnnzoo-rnn"}}, "leave out model_name_or_path"),
        ({"model_name_or_path": "runs/x", "tokenizer": {"lowercase": False}}, "leave out model_name_or_path"),
        ({"model_name_or_path": "runs/x", "word_vectors": "word2vec"}, "leave out .*word_vectors"),
        ({"hub_private": True}, "no effect without push_to_hub"),
        ({"validation_only": True, "push_to_hub": True}, "validation_only writes no card"),
        ({"streaming": True, "dataset": "made"}, "dataset is made and streaming is true: .* Leave out one"),
        ({"word2vec_folder": "kept"}, "word2vec_folder is kept, but has no effect: set word_vectors to word2vec"),
        ({"streaming": True, "word_vectors": "word2vec"}, "word_vectors is word2vec and streaming is true"),
        ({"streaming": True, "validation_fraction": 0.1}, "validation_fraction is 0.1 and streaming is true"),
        ({"streaming": True, "validation_split": "films"}, "validation_split is films and streaming is true"),
        ({"streaming": True, "train_examples": 9}, "train_examples is 9 and streaming is true"),
        ({"streaming": True, "fold": "0/2"}, "fold is 0/2 and streaming is true"),
        ({"fold": "2/2"}, "fold is '2/2': it must be K/N"),
        ({"validation_split": "films", "validation_fraction": 0.1}, "validation_split is films and .* Leave out one"),
    ],
    ids=str,
)
def test_options_that_exclude_each_other_are_refused(options, says):
    with pytest.raises(RecipeError, match=says) as caught:
        Options(**options)
    assert "\n" not in str(caught.value)


def test_an_option_says_whether_it_decides_what_is_learned():
    """What is no part of the training may change when it is resumed, and does not tell two models apart."""
    assert set(incidental(Options)) == {
        *("output_dir", "eval_batch_size", "half_precision", "verify_rows", "num_threads", "report_to"),
        *("checkpointing_steps", "checkpointing_minutes", "keep", "resume"),
        *("push_to_hub", "hub_model_id", "hub_private", "no_examples", "validation_only"),
        "word2vec_folder",
    }
    # A task's own fields say it in the same way; without a word, they decide.
    assert incidental(SmallOptions()) == incidental(Options)
    kept = settings(SmallOptions(model={"hidden_size": 3}), 53)
    assert set(kept) == {field.name for field in fields(Options)} - set(incidental(Options)) | {"training examples"}
    assert kept["model"] == {"hidden_size": 3} and kept["training examples"] == 53
