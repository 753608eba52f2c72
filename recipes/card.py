"""The model card of a run, made from its results.json and from nothing else."""

from huggingface_hub import EvalResult, ModelCard, ModelCardData


# Of each task the pipeline that serves it, how to call that, and a text to try.
TASKS = {
    "imdb": ("text-classification", "", "A film that I will not forget."),
    "ner": ("token-classification", ', aggregation_strategy="simple"', "Ada Lovelace lived in London."),
}

TEXT = """
# {model}

A `{model_type}` of {num_parameters:,} parameters for {task_name}, trained with rnnzoo's recipe `recipes.{task}`.

| split | {names} |
|---|{rule}
| validation | {validation} |
| test | {test} |

Data: {dataset[name]}, from: {dataset[source]}; rows: {splits}.{warning}
Trained with seed {seed} in {train_seconds:.0f} s (validation not counted) on {device}; processes: {world_size}, mixed
precision: {mixed_precision}. The weights are those of epoch {best_epoch}, the best on validation. The test split was
read once.
`pipeline()` on this folder, in a process of its own, gave the same probabilities as the evaluation on
{served[rows]} test rows (largest difference {served[largest_difference]:.1e}).

![learning curves](history.png)

## Use

```python
from transformers import pipeline

import rnnzoo  # makes the model type known

classify = pipeline("{pipeline_tag}", model="{path}"{how})
print(classify("{example}"))
```
{code}
Everything that was run, and with which versions, is in `results.json`.
"""

CODE = """
Where rnnzoo is not installed, leave out its import and add `trust_remote_code=True`: that runs the code which is kept
beside the weights.
"""

MADE = """
**These texts were made by a small grammar, and the scores say nothing about real ones.**
"""


def card(results: dict) -> str:
    """Markdown with a metadata block that `huggingface_hub.ModelCard` accepts."""
    tag, how, example = TASKS[results["task"]]
    dataset = results["dataset"]
    # Those of single types are in results.json.
    metrics = {
        split: {name: value for name, value in found.items() if not isinstance(value, dict)}
        for split, found in results["metrics"].items()
    }
    if tag == "text-classification" and (longest := results["config"]["max_length"]):
        how += f", truncation=True, max_length={longest}"  # this pipeline cuts only where it is told to
    made = dataset["name"] == "made"
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag=tag,
        language="en" if dataset["name"] in ("imdb", "conll2003", "wnut_17", "made") else None,
        tags=["rnnzoo", results["model_type"]],
        model_name=results["model"],
        eval_results=[
            EvalResult(
                task_type=tag,
                dataset_type=dataset["source"].removeprefix("Hub: ").replace("$RNNZOO_DATA/", ""),
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
        **results,
        task_name=tag.replace("-", " "),
        pipeline_tag=tag,
        path=results["config"].get("hub_model_id") or "PATH",
        code=CODE if results["model_type"].startswith("rnnzoo-") else "",
        names=" | ".join(names),
        rule="---|" * len(names),
        validation=" | ".join(f"{metrics['validation'][name]:.4f}" for name in names),
        test=" | ".join(f"{metrics['test'][name]:.4f}" for name in names),
        splits=", ".join(f"{name} {size:,}" for name, size in dataset["splits"].items()),
        warning=MADE if made else "",
        how=how,
        example=example,
    )
    return str(ModelCard(f"---\n{metadata}\n---\n{text}"))
