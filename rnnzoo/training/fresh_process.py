"""pipeline() on a saved folder, asked in a new process that shares nothing with the one that wrote it."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def answers(folder: Path, pipeline: str, texts: list[str], batch_size: int, **options: Any) -> list:
    """`pipeline(name, folder)(texts, **options)`, asked in a new process; or with "score" what `score_texts` gives.

    Raises:
        RuntimeError: the process failed; its last lines are in the message.
    """
    with tempfile.TemporaryDirectory() as exchange:
        question, answer = Path(exchange, "question.json"), Path(exchange, "answer.json")
        asked = {
            "folder": str(folder.resolve()),
            "pipeline": pipeline,
            "texts": texts,
            "batch_size": batch_size,
            "options": options,
        }
        question.write_text(json.dumps(asked), encoding="utf-8")
        command = [sys.executable, "-m", "rnnzoo.training.fresh_process", str(question), str(answer)]
        done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"pipeline({pipeline!r}) on {folder} failed:\n{done.stderr[-2000:]}")
        return json.loads(answer.read_text(encoding="utf-8"))


def main(question: str, answer: str) -> None:
    """The new process: reads the question, writes the answer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

    import rnnzoo  # noqa: F401  registers the families
    from rnnzoo.scoring import score_texts

    torch.backends.cudnn.allow_tf32 = False  # as it was measured
    asked = json.loads(Path(question).read_text(encoding="utf-8"))
    if asked["pipeline"] == "score":
        model = AutoModelForCausalLM.from_pretrained(asked["folder"])
        tokenizer = AutoTokenizer.from_pretrained(asked["folder"])
        found = list(score_texts(model, tokenizer, asked["texts"], asked["batch_size"]))
    else:
        pipe = pipeline(asked["pipeline"], model=asked["folder"])
        found = pipe(asked["texts"], batch_size=asked["batch_size"], **asked["options"])
    Path(answer).write_text(json.dumps(found, default=float), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
