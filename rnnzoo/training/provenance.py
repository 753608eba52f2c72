"""Where a result comes from: package versions, the commit that ran, the device."""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch


def versions(*more: str) -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    packages = ("rnnzoo", "transformers", "tokenizers", "datasets", "accelerate", "evaluate", *more)
    # torch's own version names its build too; the package's metadata may lack that.
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: version(name) for name in packages},
    }


def git_commit() -> str | None:
    """The commit of rnnzoo that runs, with "-dirty" where files differ from it; None for an installed package."""
    git = ["git", "-C", str(Path(__file__).parent)]
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    try:
        # An environment may lie inside some other repository, whose commit would say nothing.
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=True)
        return subprocess.run([*git, *describe], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name(device: torch.device) -> str:
    """The accelerator's name, or the processor's with its number of cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = re.findall(r"model name\s*: (.+)", info) or [platform.processor() or platform.machine()]
    return f"{names[0]}, {cores()} cores"


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
