"""The start of a run: the processes that were asked for, the device, the folder, the repository on the Hub."""

import os
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin, PartialState
from accelerate.utils import (
    DistributedType,
    InitProcessGroupKwargs,
    compare_versions,
    disable_fsdp_ram_efficient_loading,
    set_seed,
)

from rnnzoo.data.errors import RecipeError
from rnnzoo.training import hub, resume
from rnnzoo.training.options import Options
from rnnzoo.training.provenance import cores


# The versions that FSDP2 was tried with. With torch 2.8 gradients are clipped by a wrong norm; older versions of
# accelerate were not tried since checkpoints are no longer its own.
FSDP_NEEDS = {"torch": "2.13", "accelerate": "1.15"}


def start(options: Options) -> Accelerator:
    """The accelerator, with the processes that were asked for and seeded; the places for the results are ready.

    Raises:
        RecipeError: fewer processes than were asked for, a precision that the device lacks, FSDP in a form that the
            loop does not support, a folder or a repository that cannot be written, or one with an unfinished run.
    """
    check_writable(Path(options.output_dir))
    unfinished = resume.usable(options.output_dir)
    if unfinished and not options.resume:
        raise RecipeError(
            f"output_dir {options.output_dir} has the checkpoints of an unfinished run, up to {unfinished[0].name}: "
            f"resume it with --resume, or remove {unfinished[0].parent}, or choose another --output_dir."
        )
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    # accelerate's plain launcher sets the address for several processes, and then starts one.
    alone = "MASTER_ADDR" in os.environ and "WORLD_SIZE" not in os.environ
    trackers = None if options.report_to == "none" else options.report_to
    try:
        accelerator = Accelerator(
            mixed_precision=options.mixed_precision,
            log_with=trackers,
            project_dir=options.output_dir,
            # The others wait while the main process asks the pipeline.
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=2))],
        )
    except ValueError as error:
        raise RecipeError(f"accelerate refuses to start: {' '.join(str(error).split())}") from error
    if trackers and not accelerator.log_with:
        raise RecipeError(
            f"report_to is {trackers!r}, whose package is not installed: nothing would be recorded. pip install it."
        )
    if alone or accelerator.num_processes != launched:
        requested = "Several processes were requested" if alone else f"{launched} processes were requested"
        raise RecipeError(
            f"{requested}, but only {accelerator.num_processes} was started: on CPU, `accelerate launch --cpu "
            "--num_processes N` starts only one. Use `ACCELERATE_USE_CPU=true accelerate launch --multi_gpu "
            "--num_processes N -m recipes…` (the flag means several processes, GPU or not)."
        )
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise RecipeError("mixed_precision is fp16 on a CPU, where it is about ten times slower: use bf16 or no.")
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        use_fsdp2(accelerator)
    if accelerator.device.type == "cpu":
        # accelerate launch sets one thread per process unless told otherwise.
        processes_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(options.num_threads or max(1, cores() // processes_here))
    # cuDNN would round the inputs of fp32 products to ten bits of mantissa, and an answer would depend on its batch.
    torch.backends.cudnn.allow_tf32 = False
    if options.push_to_hub and accelerator.is_main_process:
        name = Path(options.output_dir).resolve().name
        options.hub_model_id = hub.claim(options.hub_model_id or name, options.hub_private)
    set_seed(options.seed)
    return accelerator


def use_fsdp2(accelerator: Accelerator) -> None:
    """Sets up FSDP2, which was asked for, on whatever device.

    Raises:
        RecipeError: it is FSDP of version 1, there is only one process, or a package is too old.
    """
    for package, oldest in FSDP_NEEDS.items():
        if compare_versions(package, "<", oldest):
            raise RecipeError(f"FSDP was requested, but the installed {package} is older than {oldest}: update it.")
    if accelerator.device.type == "cpu" and accelerator.use_distributed:
        # accelerate (1.15, `AcceleratorState`) supports FSDP on accelerators only, and would silently train CPU
        # processes with DDP. This is what it does there; to be removed when it does so here.
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
        if accelerator.mixed_precision != "no":
            accelerator.state.fsdp_plugin.set_mixed_precision(accelerator.mixed_precision)
        accelerator.state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
    if not accelerator.is_fsdp2:
        raise RecipeError(
            "FSDP was requested, but not as version 2 with several processes: use --config_file "
            "recipes/configs/accelerate/fsdp2.yaml, or add --fsdp_version 2 and --num_processes N."
        )
    # Every process builds or loads the unsharded model: it is evaluated and saved as that.
    disable_fsdp_ram_efficient_loading()
    accelerator.state.fsdp_plugin.cpu_ram_efficient_loading = False


def check_writable(folder: Path) -> None:
    """Makes the folder, and makes sure that files can be created in it, before any work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".probe-{os.getpid()}"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise RecipeError(
            f"output_dir {folder} cannot be written ({error.strerror}). Choose another with --output_dir."
        ) from None
