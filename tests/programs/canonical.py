"""The canonical programs of SGLang's language: apps of an LLM, with the arguments of a call."""

from typing import Any, Literal

from pydantic import BaseModel, Field

import teola as tl

ARTICLE = (
    "The new library opened in spring. It has 40 000 books, a garden, and long opening hours. "
    "Readers praise the quiet rooms; the staff is kind, but the lift is often out of order."
)
POINTS = ("clarity", "evidence", "tone")


class City(BaseModel):
    name: str = Field(max_length=12)
    country: str = Field(max_length=12)
    size: Literal["small", "large"]


@tl.tool(pure=True)
def look_up(thought: str) -> str:
    return "Berlin has 3.7 million people." if "erlin" in thought else "Nothing was found."


@tl.tool(pure=True)
def majority(votes: list[str]) -> str:
    return max(sorted(set(votes)), key=votes.count)


@tl.tool(pure=True)
def best(solutions: list[str], scores: list[list[float]]) -> str:
    return max(zip(scores, solutions, strict=True))[1]


def programs(llm: tl.LLM) -> dict[str, tuple["tl.App[..., Any]", tuple[Any, ...]]]:
    """By name: the program, and the arguments of a call."""

    @tl.program(llm)
    async def chat(s: tl.State, questions: list[str]) -> tl.State:
        s += tl.system("Answer in a few words.")
        for i, question in enumerate(questions):
            s += tl.user(question)
            s += tl.assistant(tl.gen(f"answer_{i}", max_tokens=12))
        return s

    @tl.program(llm)
    async def judge(s: tl.State, article: str) -> tl.State:
        s += tl.system("You judge articles.")
        s += tl.user(f"Article: {article}\n\nIs it about a library?")
        s += tl.assistant(tl.select("related", choices=["yes", "no"]))
        await tl.value(s["related"])
        forks = s.fork(len(POINTS))
        for fork, point in zip(forks, POINTS, strict=True):
            fork += tl.user(f"Judge the {point} of the article.")
            fork += tl.assistant("Judgment: " + tl.gen("judgment", max_tokens=12, stop="END"))
        s.join(forks)
        s += tl.user(f"Grade the article.\n{tl.join(s.get('judgment', list[str]), '{text}')}")
        s += tl.assistant("Grade: " + tl.gen("grade", regex=r"[ABCD][+-]?"))
        return s

    @tl.program(llm)
    def tree_of_thought(s: tl.State, problem: str) -> str:
        s += tl.user(f"Problem: {problem}\nHow can it be solved?")
        leaves: list[tl.State] = []
        for seed, fork in enumerate(s.fork(2)):
            fork += tl.assistant(tl.gen("way", max_tokens=8, temperature=0.7, seed=seed))
            fork += tl.user("Carry it out.")
            for i, leaf in enumerate(fork.fork(2)):
                leaf += tl.gen("solution", max_tokens=8, temperature=0.7, seed=i)
                leaf += tl.user("Is that right?")
                leaf += tl.select("verdict", ["yes", "no"])
                leaves.append(leaf)
        solutions = [leaf["solution"] for leaf in leaves]
        return best(solutions, [leaf.scores("verdict") for leaf in leaves])

    @tl.program(llm)
    async def react(s: tl.State, question: str) -> tl.State:
        s += "Thought: think. Action: Search[words] or Finish[answer].\n"
        s += f"Question: {question}\n"
        for i in range(1, 4):
            s += f"Thought {i}: " + tl.gen(f"thought_{i}", max_tokens=12, stop="\n")
            s += f"\nAction {i}: " + tl.select(f"act_{i}", choices=["Search", "Finish"]) + "["
            s += tl.gen(f"words_{i}", max_tokens=8, stop=["]", "\n"]) + "]\n"
            if await tl.value(s[f"act_{i}"]) == "Finish":
                break
            s += f"Observation {i}: {look_up(s[f'thought_{i}'])}\n"
        return s

    @tl.program(llm)
    def json_decoding(s: tl.State, city: str) -> City:
        s += tl.user(f"Describe the city {city} as JSON.")
        s += tl.assistant(tl.gen("city", out=City, max_tokens=64))
        return s.get("city", City)

    @tl.program(llm)
    def self_consistency(s: tl.State, question: str) -> str:
        s += tl.user(f"{question} Answer with a number.")
        forks = s.fork(4)
        for seed, fork in enumerate(forks):
            fork += tl.assistant(tl.gen("vote", regex="[0-9]", temperature=0.8, seed=seed))
        s.join(forks)
        return majority(s.get("vote", list[str]))

    @tl.program(llm)
    def classify(s: tl.State, text: str) -> str:
        s += "Text: What a lovely day!\nMood: good\n\n"
        s += "Text: The train was late again.\nMood: bad\n\n"
        s += "Text: I found a coin in the park.\nMood: good\n\n"
        s += f"Text: {text}\nMood:" + tl.select("mood", choices=[" good", " bad"])
        return s["mood"]

    return {
        "chat": (chat, (["Name a colour.", "Another one?", "Which is darker?"],)),
        "judge": (judge, (ARTICLE,)),
        "tree_of_thought": (tree_of_thought, ("What is 3 + 4?",)),
        "react": (react, ("How many people live in Berlin?",)),
        "json_decoding": (json_decoding, ("Paris",)),
        "self_consistency": (self_consistency, ("How many legs has a spider?",)),
        "classification": (classify, ("My bike was stolen.",)),
    }
