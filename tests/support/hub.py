"""How this process and others reach the Hub of hub_server.py in place of the real one."""

import os
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants, hf_api
from transformers.utils import hub as transformers_hub

from tests.support.hub_server import WRITES, Hub


# For the `pytestmark` of files that push: huggingface_hub itself uploads without hf_xet in a way that it deprecates.
UPLOADS = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


def connect(patch: pytest.MonkeyPatch, hub: Hub, cache: Path) -> None:
    """Points the libraries in this process to a Hub; they read these variables only when they are imported."""
    addresses = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
    }
    for name, value in addresses.items():
        patch.setattr(constants, name, value)
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    patch.setattr(hf_api.api, "endpoint", hub.url)
    patch.setattr(transformers_hub, "_hf_api", None)
    patch.setenv("HF_TOKEN", WRITES)
    patch.setenv("NO_PROXY", "127.0.0.1")
    # For a pickle on the Hub, transformers would otherwise ask a service elsewhere to convert it.
    patch.setenv("DISABLE_SAFETENSORS_CONVERSION", "1")
    close_session()


def environment(hub: Hub, home: Path, **more: str) -> dict[str, str]:
    """The environment of another process that reaches the Hub, with a cache of its own in `home`."""
    unset = (
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_HUB_CACHE",
        "HF_MODULES_CACHE",
        "HF_TOKEN_PATH",
        "PYTHONPATH",
    )
    fixed = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": WRITES, "HF_HUB_DISABLE_XET": "1"}
    fixed |= {"NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1", "DISABLE_SAFETENSORS_CONVERSION": "1"}
    return {name: value for name, value in os.environ.items() if name not in unset} | fixed | more


def files_of(folder: Path) -> dict[str, bytes]:
    """The contents of the files at the top of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
