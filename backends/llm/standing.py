"""How one sequence has been served so far: what batch policies go by."""

from dataclasses import dataclass


@dataclass(slots=True)
class Standing:
    """Times of the planner's clock, in seconds."""

    arrived_s: float = 0.0
    prefill_s: float = 0.0  # how long its prompt was thought to take, when it came
    served_s: float = 0.0  # all steps it took part in since it came, or counted as new
    last_s: float = 0.0  # end of the latest of them; before the first, its arrival

    def serve(self, ended_s: float, elapsed_s: float, patience_s: float) -> None:
        """It took part in a step. After a wait of `patience_s` it counts as new."""
        if ended_s - elapsed_s - self.last_s >= patience_s:
            self.served_s = 0.0
        self.served_s += elapsed_s
        self.last_s = ended_s
