"""A tiny BERT with a tokenizer of its own, for what must work with any transformer."""

from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from rnnzoo.data.synthetic.reviews import make_reviews


def save(folder: Path, inputs=("input_ids", "token_type_ids", "attention_mask"), **changes) -> Path:
    """Writes it, untrained, and returns the folder; it reads 64 tokens."""
    words = sorted({word for text in make_reviews()["train"]["text"][:300] for word in text.lower().split()})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *(w for w in words if w.isalpha())]
    tokenizer = BertTokenizer(
        vocab={word: i for i, word in enumerate(words)}, model_input_names=list(inputs), model_max_length=64
    )
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(**size | {"vocab_size": len(tokenizer), "max_position_embeddings": 64} | changes)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
