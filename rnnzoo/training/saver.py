"""When a run is saved: every so many steps or minutes, after each epoch, and before it ends on SIGTERM."""

import signal
import threading
import time

import torch
from accelerate import Accelerator

from rnnzoo.training import resume
from rnnzoo.training.options import Options
from rnnzoo.training.resume import Progress


# Exit code of a run that was told to stop, and has saved: EX_TEMPFAIL of sysexits.h, "try again later".
STOPPED = 75


class Stopped(SystemExit):
    """The end of a run that was told to stop, and has saved; code `STOPPED`."""

    def __init__(self, accelerator: Accelerator, step: int):
        accelerator.print(f"Stopped by SIGTERM after step {step}, which is saved: resume with --resume.", flush=True)
        super().__init__(STOPPED)


class Saver:
    """Writes checkpoints where they are due. Within a `with`, SIGTERM is remembered until the run has saved."""

    def __init__(self, accelerator: Accelerator, progress: Progress, options: Options):
        self.accelerator, self.progress, self.options = accelerator, progress, options
        self.told_to_stop, self.saved = False, time.monotonic()

    def __enter__(self):
        # Python delivers signals to the main thread only.
        self.listens = threading.current_thread() is threading.main_thread()
        if self.listens:
            self.before = signal.signal(signal.SIGTERM, self._on_sigterm)
        return self

    def __exit__(self, *error):
        if self.listens:
            signal.signal(signal.SIGTERM, self.before)

    def _on_sigterm(self, number, frame):
        self.told_to_stop = True

    def begin(self) -> None:
        """Resumes where that is asked for; else removes what is left of a run that cannot be resumed."""
        if self.options.resume:
            resume.resume(self.accelerator, self.progress, self.options.output_dir)
        elif self.accelerator.is_main_process:
            resume.discard(self.options.output_dir)

    def after_step(self) -> None:
        """Saves where a checkpoint is due.

        Raises:
            SystemExit: with the code `STOPPED`: a SIGTERM came, and the run is saved.
        """
        options, minutes = self.options, (time.monotonic() - self.saved) / 60
        late = options.checkpointing_minutes is not None and minutes >= options.checkpointing_minutes
        late, stop = agree(self.accelerator, late, self.told_to_stop)
        due = options.checkpointing_steps and self.progress.step % options.checkpointing_steps == 0
        if due or late or stop:
            self.progress.check_finite()
            self.progress.stop_clock()
            self._save(stop)
            self.progress.start_clock()

    def after_epoch(self) -> None:
        """Saves; raises as `after_step` does."""
        self._save(False)
        # A signal that came while the checkpoint was written counts too.
        if any(agree(self.accelerator, self.told_to_stop)):
            raise Stopped(self.accelerator, self.progress.step)

    def _save(self, stop: bool) -> None:
        resume.save(self.accelerator, self.progress, self.options.output_dir, self.options.keep)
        if stop:
            raise Stopped(self.accelerator, self.progress.step)
        self.saved = time.monotonic()


def agree(accelerator: Accelerator, *wishes: bool) -> list[bool]:
    """Whether any process wishes each of these things; all processes get the same answer."""
    if accelerator.num_processes == 1:
        return list(wishes)
    wishes = torch.tensor(wishes, dtype=torch.float, device=accelerator.device)
    return accelerator.reduce(wishes, "sum").bool().tolist()
