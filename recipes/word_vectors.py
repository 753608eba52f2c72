"""Word vectors out of the training texts alone: skip-gram with negative sampling, by gensim."""

import torch
from torch import Tensor, nn


def word2vec(rows: list[list[int]], embeddings: nn.Embedding, seed: int) -> Tensor:
    """Rows of ids -> a table to begin `embeddings` with, [V, E]; labels are not looked at.

    For a word w, a neighbour c and noise words n, drawn by their frequency^0.75, log σ(v_w·u_c) + Σ_n log σ(-v_w·u_n)
    rises (Mikolov et al. 2013, https://arxiv.org/abs/1310.4546). The vectors are centred and get the spread that the
    table has now; what has no place in the rows (padding, say) keeps its own.
    """
    # Here, because only those who ask for vectors need it.
    from gensim.models import Word2Vec

    table = embeddings.weight.detach().cpu().clone()
    fitted = Word2Vec(
        [[str(i) for i in row] for row in rows],
        vector_size=table.shape[1],
        sg=1,
        window=10,  # wide: words of one mood rather than of one part of speech
        negative=10,
        sample=1e-4,  # words more frequent than that are skipped now and then
        epochs=5,
        min_count=1,
        workers=1,  # with more, two runs differ
        seed=seed,
    ).wv
    ids = torch.tensor([int(word) for word in fitted.index_to_key])
    vectors = torch.from_numpy(fitted.vectors)
    vectors = vectors - vectors.mean(0)
    table[ids] = vectors * (embeddings.weight.std().item() / vectors.std())
    return table
