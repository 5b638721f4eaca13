"""What watches a training: it reports steps, saves checkpoints by the clock, and stops at a loss that is no number."""

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from store.errors import UserError
from store.progress import Progress

if TYPE_CHECKING:
    from transformers import TrainerCallback

SECONDS_BETWEEN_CHECKPOINTS = 300.0


def watcher(progress: Progress, learning_rate: float) -> "TrainerCallback":
    """Make the callback of a run.

    Where the run validates, it does so at the last step too. The loss of each step is looked at, so that a run that
    has gone wrong ends there.
    """
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Watcher(TrainerCallback):  # type: ignore[misc]  # transformers comes without types
        saved_at = time.monotonic()
        loss = validated = ""

        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            progress.start("Training", state.max_steps)
            if state.global_step:
                progress.advance(state.global_step)

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            progress.advance(1, ", ".join(filter(None, (self.loss, self.validated))))
            if time.monotonic() - self.saved_at > SECONDS_BETWEEN_CHECKPOINTS:
                self.saved_at = time.monotonic()
                control.should_save = True
            if state.global_step == state.max_steps and args.eval_strategy != "no":
                control.should_evaluate = True

        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            logs: Mapping[str, float] | None = None,
            **_: object,
        ) -> None:
            logs = logs or {}
            if "eval_ndcg" in logs:
                self.validated = f"validation nDCG@10 {float(logs['eval_ndcg']):.3f}"
            if "loss" not in logs:
                return
            loss = float(logs["loss"])
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss became {loss} at step {state.global_step}: the learning rate {learning_rate} is too"
                    " high for this model",
                    hint=f"uncited train --policy NAME --learning-rate {learning_rate / 10:g}",
                )
            self.loss = f"loss {loss:.3f}"

    return Watcher()
