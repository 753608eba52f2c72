"""Two real processes train what one trains: the loop on a small task, the recipe, and launches that go wrong."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from small_task import RUNS, SIZES, STEPS_PER_EPOCH, fresh_accelerator, gap, trained

from recipes import imdb
from recipes.training import SCHEDULES if False else RecipeError
