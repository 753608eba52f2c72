"""fp16 without a GPU: an accelerator that scales the loss."""

import torch
from accelerate import Accelerator


class Scaled(Accelerator):
    """As in fp16 on a GPU: the loss is scaled, and steps whose gradients are not finite are skipped."""

    def __init__(self, **options):
        super().__init__(**options)
        self.scaler = torch.amp.GradScaler("cpu")
