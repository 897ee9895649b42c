"""First come, first served."""

from runtime.policy.base import Policy

fcfs = Policy("fcfs", rank=lambda ticket: ticket.order)
