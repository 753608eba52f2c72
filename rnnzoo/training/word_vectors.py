"""Initial word embeddings of a new model: word2vec trained on the training texts, or vectors from a file."""

import os
import time
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rnnzoo.configuration_rnnzoo import RecurrentConfig
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.streams import Stream
from rnnzoo.embeddings import WordVectors, load_word_vectors
from rnnzoo.training.options import WORD2VEC, Options


# Words that word2vec reads, in up to five passes and at least one.
MOST_READ = 30_000_000


def read_vectors(options: Options) -> WordVectors | str | None:
    """The vectors that `options.word_vectors` names, read from their file; or WORD2VEC, or None, as they are.

    Raises:
        RecipeError: they cannot be read, or differ in width from those of the model.
    """
    source, width = options.word_vectors, options.model.get("embedding_size", RecurrentConfig.embedding_size)
    if source in (None, WORD2VEC):
        return source
    try:
        found = load_word_vectors(source)
    except (OSError, ValueError, ImportError) as error:
        raise RecipeError(f"word_vectors: {error}") from error
    if found.vectors.shape[1] != width:
        raise RecipeError(
            f"word_vectors: those of {source} have {found.vectors.shape[1]} dimensions, but model.embedding_size "
            f"is {width}. Set it to {found.vectors.shape[1]}."
        )
    return found


def start_vectors(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: dict[str, Dataset | Stream],
    vectors: WordVectors | str | None,
    options: Options,
) -> float:
    """Fills in what `read_vectors` returned, or trains word2vec on all texts; returns the seconds that it took.

    `rows` are those of the task: word2vec reads the `input_ids` of train and, where there are some, of the unlabelled
    texts. Every process obtains the same vectors. A resumed run reads a file again, for the words that it does not
    train, but does not train word2vec again: its checkpoint has all rows that word2vec filled.

    Raises:
        RecipeError: the folder of `word2vec_folder` cannot be written or read.
    """
    if vectors is None or (vectors == WORD2VEC and options.resume):
        return 0.0
    started = time.perf_counter()
    embeddings = model.get_input_embeddings()
    if vectors == WORD2VEC:
        texts = [row for split in ("train", "unlabelled") if split in rows for row in rows[split]["input_ids"]]
        if options.word2vec_folder is None:
            table, before = word2vec(texts, embeddings, options.seed), 0.0
        else:
            table, before = kept(Path(options.word2vec_folder), texts, embeddings, options.seed)
    else:
        table, before = fill(embeddings, tokenizer, vectors), 0.0
    with torch.no_grad():
        embeddings.weight.copy_(table)
    return before or time.perf_counter() - started


def fill(embeddings: nn.Embedding, tokenizer: PreTrainedTokenizerBase, vectors: WordVectors) -> Tensor:
    """The table of `embeddings`, [V, E], with the vectors of the words that have one; other rows keep their values."""
    table = embeddings.weight.detach().cpu().clone()
    vocab = tokenizer.get_vocab()
    special = set(tokenizer.all_special_tokens)
    exact = {word: i for i, word in enumerate(vectors.words)}
    # In a file that has "London" but not "london", that vector serves both.
    folded = {word.lower(): i for word, i in reversed(exact.items())} | exact
    pairs = [(vocab[word], folded[word]) for word in vocab if word in folded and word not in special]
    if not pairs:
        raise RecipeError(
            "word_vectors: none of the tokenizer's words has a vector there. Choose vectors of the texts' language."
        )
    ids, places = map(list, zip(*pairs, strict=True))
    table[ids] = vectors.vectors[places]
    return table


def kept(folder: Path, rows: list[list[int]], embeddings: nn.Embedding, seed: int) -> tuple[Tensor, float]:
    """What `word2vec` gives, and the seconds that it took: from the folder, if a run before has left it there.

    The file is named by all that the vectors follow from: texts, initial table, seed, version of gensim.

    Raises:
        RecipeError: the folder cannot be written, or the file is not what was written.
    """
    found = blake2b(f"{version('gensim')} {seed} {tuple(embeddings.weight.shape)}".encode(), digest_size=8)
    for part in (embeddings.weight.detach().cpu().numpy(), list(map(len, rows)), *rows):
        found.update(np.ascontiguousarray(part))
    path = folder / f"word2vec-{found.hexdigest()}.safetensors"
    with PartialState().main_process_first():
        if not path.is_file():
            started = time.perf_counter()
            table = word2vec(rows, embeddings, seed)
            _keep(path, table, time.perf_counter() - started)
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor("vectors"), float(file.metadata()["seconds"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RecipeError(
            f"{path} cannot be read ({' '.join(str(error).split())[:200]}): it is not what was written. Remove it, "
            "and word2vec is trained again."
        ) from error


def _keep(path: Path, table: Tensor, seconds: float) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": table.contiguous()}, unfinished, metadata={"seconds": f"{seconds:.1f}"})
        unfinished.replace(path)
    except (OSError, SafetensorError) as error:
        if unfinished.is_file():
            unfinished.unlink()
        raise RecipeError(
            f"The vectors of word2vec cannot be written to {path.parent} ({' '.join(str(error).split())[:200]}). Make "
            "room, or choose another folder with word2vec_folder."
        ) from error


def word2vec(rows: list[list[int]], embeddings: nn.Embedding, seed: int) -> Tensor:
    """Rows of ids -> an initial table for `embeddings`, [V, E], by skip-gram with negative sampling.

    For a word w, a neighbour c and noise words n, drawn by frequency^0.75, log σ(v_w·u_c) + Σ_n log σ(-v_w·u_n) is
    maximised (Mikolov et al. 2013, https://arxiv.org/abs/1310.4546). The vectors are centred and scaled to the
    standard deviation that the table has now; ids that do not occur (padding, say) keep their vectors.
    """
    # Here, because only those who ask for vectors need it.
    from gensim.models import Word2Vec

    table = embeddings.weight.detach().cpu().clone()
    words = [str(i) for i in range(len(table))]  # one string a word: as many as there are in the texts take gigabytes
    fitted = Word2Vec(
        [[words[i] for i in row] for row in rows],
        vector_size=table.shape[1],
        sg=1,
        window=10,  # wide: it relates words of one sentiment rather than of one part of speech
        negative=10,
        sample=1e-4,  # words more frequent than that are subsampled
        epochs=max(1, min(5, round(MOST_READ / sum(map(len, rows))))),
        min_count=1,
        workers=1,  # with more, runs are not reproducible
        seed=seed,
    ).wv
    ids = torch.tensor([int(word) for word in fitted.index_to_key])
    vectors = torch.from_numpy(fitted.vectors)
    vectors = vectors - vectors.mean(0)
    table[ids] = vectors * (embeddings.weight.std().item() / vectors.std())
    return table
