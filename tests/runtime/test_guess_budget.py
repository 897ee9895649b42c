"""What guesses may waste."""

from hypothesis import given
from hypothesis import strategies as st

from backends.base import Usage
from runtime.guess_budget import (
    ALLOWED_S,
    MAX_APPS,
    Cost,
    GuessBudget,
    Spending,
    Spendings,
    cost_of,
)

COSTS = st.builds(Cost, st.integers(0, 400).map(float), st.floats(0.0, 5.0))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("use"), st.integers(0, 1), COSTS),
        st.tuples(st.just("guess"), st.integers(0, 1), st.none() | COSTS),
        st.tuples(st.just("wrong"), st.integers(0, 1), COSTS),
        st.tuples(st.just("right"), st.integers(0, 1), COSTS),
    ),
    max_size=60,
)


def at_most(cost: Cost, most: Cost | None) -> Cost:
    if most is None:
        return cost
    return Cost(min(cost.tokens, most.tokens), min(cost.seconds, most.seconds))


@given(STEPS, st.floats(0.01, 1.0))
def test_no_more_than_the_share_and_one_guess_is_wasted(
    steps: list[tuple[str, int, Cost]], share: float
) -> None:
    of_app = Spending()
    queries = [GuessBudget(share, of_app), GuessBudget(share, of_app)]
    begun: list[list[tuple[object, Cost | None]]] = [[], []]
    largest = {id(each): Cost() for each in (of_app, *(query._own for query in queries))}
    for word, at, cost in steps:
        query, both = queries[at], (of_app, queries[at]._own)
        if word == "use":
            query.used(cost)
        elif word == "guess":
            guess = object()
            if query.begin(guess, cost):
                begun[at].append((guess, cost))
        elif begun[at]:
            guess, most = begun[at].pop(0)
            spent = at_most(cost, most)
            query.end(*((spent, Cost()) if word == "right" else (Cost(), spent)))
            query.close(guess)
            for each in both:
                known = largest[id(each)]
                largest[id(each)] = Cost(
                    max(known.tokens, spent.tokens), max(known.seconds, spent.seconds)
                )
        for each in (of_app, *(query._own for query in queries)):
            bound = Cost(
                share * each.useful.tokens + largest[id(each)].tokens,
                share * each.useful.seconds + largest[id(each)].seconds + ALLOWED_S,
            )
            assert each.wasted.tokens <= bound.tokens + 1e-6
            assert each.wasted.seconds <= bound.seconds + 1e-6


def test_a_guess_whose_cost_is_not_known_goes_alone() -> None:
    spending = Spending(useful=Cost(1000.0))
    budget = GuessBudget(1.0, spending)
    budget.used(Cost(1000.0))
    assert budget.begin("first", None)
    assert not budget.begin("second", Cost(1.0))
    budget.close("first")
    assert budget.begin("second", Cost(1.0))
    assert budget.begin("third", Cost(1.0))
    assert not budget.begin("fourth", None)


def test_a_query_that_guessed_wrong_guesses_no_more_however_much_its_app_was_of_use() -> None:
    of_app = Spending(useful=Cost(100_000.0))
    query, another = GuessBudget(0.1, of_app), GuessBudget(0.1, of_app)
    assert query.begin("wrong", Cost(80.0))
    query.end(Cost(), Cost(80.0))
    query.close("wrong")
    assert not query.begin("next", Cost(80.0))
    assert another.begin("next", Cost(80.0))
    query.used(Cost(800.0))
    assert query.begin("next", Cost(80.0))


def test_apps_are_counted_by_name_and_those_not_used_for_long_are_forgotten() -> None:
    spendings = Spendings()
    GuessBudget(0.5, spendings.of("a")).used(cost_of(Usage(prefill_tokens=3, decode_tokens=4), 2.0))
    assert spendings.of("a").useful == Cost(7.0, 2.0)
    assert spendings.of("b").useful == Cost()
    for number in range(MAX_APPS):
        spendings.of(str(number))
    assert spendings.of("a").useful == Cost()
