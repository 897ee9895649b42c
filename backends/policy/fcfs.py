"""First come, first served."""

from backends.policy.base import Policy

fcfs = Policy("fcfs", rank=lambda ticket: ticket.order)
