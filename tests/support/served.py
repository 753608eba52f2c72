"""What a saved folder answers, in this process: a fresh one takes seconds."""

import json

from transformers import pipeline


def answered_here(folder, task, texts, batch_size, **options):
    """In the place of `rnnzoo.training.parity.answers`."""
    found = pipeline(task, model=str(folder))(texts, batch_size=batch_size, **options)
    return json.loads(json.dumps(found, default=float))
