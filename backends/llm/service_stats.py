"""Per-sequence service statistics: attained service and waiting time, the input of policies."""

from dataclasses import dataclass


@dataclass(slots=True)
class ServiceStats:
    """Seconds on the planner's clock."""

    arrived_s: float = 0.0
    prefill_s: float = 0.0  # estimated prefill time, at arrival
    served_s: float = 0.0  # steps it took part in, since arrival or since it last counted as new
    last_s: float = 0.0  # end of the latest of these steps; its arrival before the first

    def serve(self, ended_s: float, elapsed_s: float, patience_s: float) -> None:
        """Add a step that it took part in. After a wait of `patience_s` it counts as new."""
        if ended_s - elapsed_s - self.last_s >= patience_s:
            self.served_s = 0.0
        self.served_s += elapsed_s
        self.last_s = ended_s
