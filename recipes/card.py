"""The model card of a run, made from its results.json and from nothing else."""

from huggingface_hub import EvalResult, ModelCard, ModelCardData


TASKS = {"imdb": ("text-classification", "Text Classification")}

TEXT = """
# {model}

A `{model_type}` of {num_parameters:,} parameters for {task_name}, trained with rnnzoo's recipe `recipes.{task}`.

| split | {names} |
|---|{rule}
| validation | {validation} |
| test | {test} |

Data: {dataset[name]}, from: {dataset[source]}; rows: {splits}.{warning}
Trained with seed {seed} in {train_seconds:.0f} s on {device} ({world_size} process(es), precision
{mixed_precision}); the weights are those of epoch {best_epoch}, the best on validation. The test split was read once.
`pipeline()` on this folder, in a process of its own, gave the same probabilities as the evaluation on
{served[rows]} test rows (largest difference {served[largest_difference]:.1e}).

![learning curves](history.png)

## Use

```python
from transformers import pipeline

import rnnzoo  # makes the model type known

classify = pipeline("{pipeline_tag}", model="PATH")
print(classify("A film that I will not forget."))
```

Everything that was run, and with which versions, is in `results.json`.
"""

MADE = """
**This is not the data set of that name: its texts were made by a small grammar, and its scores say nothing about real
reviews.**
"""


def card(results: dict) -> str:
    """Markdown with a metadata block that `huggingface_hub.ModelCard` accepts."""
    tag, task_name = TASKS[results["task"]]
    dataset, metrics = results["dataset"], results["metrics"]
    made = dataset["name"] == "made"
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag=tag,
        license="apache-2.0",
        language="en",
        tags=["rnnzoo", results["model_type"]],
        model_name=results["model"],
        eval_results=[
            EvalResult(
                task_type=tag,
                dataset_type=dataset["name"],
                dataset_name=f"{dataset['name']} ({dataset['source']})",
                dataset_split="test",
                metric_type=name,
                metric_value=value,
            )
            for name, value in metrics["test"].items()
        ],
    )
    names = list(metrics["test"])
    text = TEXT.format(
        **{**results, "model": results["model"]},
        task_name=task_name.lower(),
        pipeline_tag=tag,
        names=" | ".join(names),
        rule="---|" * len(names),
        validation=" | ".join(f"{metrics['validation'][name]:.4f}" for name in names),
        test=" | ".join(f"{metrics['test'][name]:.4f}" for name in names),
        splits=", ".join(f"{name} {size:,}" for name, size in dataset["splits"].items()),
        warning=MADE if made else "",
    )
    return str(ModelCard(f"---\n{metadata}\n---\n{text}"))
