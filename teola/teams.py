"""Forms in which agents work together: `tl.teams.sequence(outliner, writer)`."""

from frontend_dsl.teams.chains import parallel, sequence
from frontend_dsl.teams.critic import Verdict, critic
from frontend_dsl.teams.debate import debate
from frontend_dsl.teams.execution import TaskResult
from frontend_dsl.teams.group_chat import group_chat
from frontend_dsl.teams.handoffs import handoffs
from frontend_dsl.teams.planner import Joined, planner
from frontend_dsl.teams.router import router
from frontend_dsl.teams.sections import sections
from frontend_dsl.teams.team import Team
from frontend_dsl.teams.transcript import Line

__all__ = [
    "Joined",
    "Line",
    "TaskResult",
    "Team",
    "Verdict",
    "critic",
    "debate",
    "group_chat",
    "handoffs",
    "parallel",
    "planner",
    "router",
    "sections",
    "sequence",
]
