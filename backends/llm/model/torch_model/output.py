"""A step whose logits torch reads: from those of all wanted rows to the step's output."""

from dataclasses import dataclass

import torch
from torch import Tensor

from backends.llm.model.batch import Ints, StepOutput
from backends.llm.sample.top_k_top_p import likeliest


@dataclass(frozen=True, slots=True)
class LaunchedLogits:
    """Logits [W, V], on a device perhaps not yet computed."""

    logits: Tensor
    with_logits: Ints  # [R]: places of those that are wanted themselves

    @torch.inference_mode()
    def collect(self) -> StepOutput:
        """Waits for the device."""
        tokens = likeliest(self.logits).cpu().numpy()  # [W]
        if not len(self.with_logits):
            return StepOutput(tokens, None)
        if len(self.with_logits) == len(self.logits):
            return StepOutput(tokens, self.logits)
        places = torch.from_numpy(self.with_logits).to(self.logits.device)
        return StepOutput(tokens, self.logits[places])
