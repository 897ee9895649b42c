"""A problem solved in several ways, each judged by the model; the best way gives the answer.

    run-graph samples/tree_of_thought.py:solve
    run-graph samples/tree_of_thought.py:solve --ways 4

After Yao et al., "Tree of Thoughts", NeurIPS 2023. The ways are forks of one conversation: they
share what it has read, and run side by side. Judging writes nothing: the model scores two texts.
"""

import teola as tl

PROBLEM = "A farmer has 17 sheep. All but 9 run away. How many sheep are left?"

llm = tl.LLM("local:smollm2-135m")


@tl.tool(pure=True)
def best(solutions: list[str], scores: list[list[float]]) -> str:
    """The solution that is right by the widest margin."""
    margins = [right - wrong for right, wrong in scores]
    return solutions[margins.index(max(margins))]


@tl.program(llm)
def solve(s: tl.State, problem: str = PROBLEM, ways: int = 3) -> str:
    """Solve a problem by the best of several ways."""
    s += tl.system("You solve problems step by step, in few words.")
    s += tl.user(f"Problem: {problem}\nDescribe a way to solve it, in one sentence.")
    forks = s.fork(ways)
    for seed, fork in enumerate(forks):
        fork += tl.assistant(tl.gen("way", max_tokens=32, temperature=0.8, seed=seed, stop="\n"))
        fork += tl.user("Carry it out.")
        fork += tl.assistant(tl.gen("solution", max_tokens=48))
        fork += tl.user("Is the solution right?")
        fork += tl.assistant(tl.select("verdict", choices=["yes", "no"]))
    solution = best([f["solution"] for f in forks], [f.scores("verdict") for f in forks])
    s += f"\nHere is a solution:\n{solution}\nWrite its result in one short sentence."
    s += tl.assistant("The result: " + tl.gen("result", max_tokens=24, stop="\n"))
    return s["result"]
