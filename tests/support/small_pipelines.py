"""Pipelines of two small models with random weights: a classifier, and a tagger with characters and a CRF."""

import functools

import torch
from transformers import pipeline

import rnnzoo


SENTENCES = [["Ada", "did", "n't", "meet", "Babbage", "."], ["a", "good", "film", "!"]] * 2
LABELS = {0: "O", 1: "B-X", 2: "I-X"}


@functools.cache
def pipelines():
    """Text classification and token classification."""
    torch.manual_seed(0)
    words = rnnzoo.train_tokenizer([" ".join(row) for row in SENTENCES], vocab_size=20)
    characters = rnnzoo.train_tagger_tokenizer(SENTENCES, vocab_size=20, word_length=5)
    sizes = {"embedding_size": 4, "hidden_size": 4, "bidirectional": True}
    classifier = rnnzoo.GRUForSequenceClassification(rnnzoo.GRUConfig(vocab_size=len(words), **sizes))
    sizes |= {"character_size": 2, "character_vocab_size": characters.character_vocab_size}
    config = rnnzoo.LSTMConfig(vocab_size=len(characters), **sizes, use_crf=True, id2label=LABELS)
    tagger = rnnzoo.LSTMForTokenClassification(config)
    for parameter in tagger.parameters():
        torch.nn.init.normal_(parameter)
    return (
        pipeline("text-classification", model=classifier, tokenizer=words),
        pipeline("token-classification", model=tagger, tokenizer=characters, aggregation_strategy="simple"),
    )
