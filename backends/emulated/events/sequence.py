"""What waits and runs in the engine that jumps, and its contexts."""

from backends.base import Request
from backends.emulated.events.prefixes import page_keys
from backends.place import Place
from backends.policy.base import Ticket

CHARS_PER_TOKEN = 4
NOWHERE = Place("", 0.0)


class EventContext:
    """A text, or only the keys of its pages. Holds nothing: its pages stay as long as there is
    room."""

    __slots__ = ("__weakref__", "_before", "_keys", "_page_tokens", "num_tokens", "text")

    def __init__(
        self,
        text: str,
        num_tokens: int,
        page_tokens: int,
        keys: tuple[int, ...] | None = None,
        before: "EventContext | None" = None,
    ) -> None:
        self.text = text
        self.num_tokens = num_tokens
        self._page_tokens = page_tokens
        self._keys = keys
        self._before = before  # what the text begins with

    @property
    def keys(self) -> tuple[int, ...]:
        """Of its whole pages, as far as they are known."""
        if self._keys is None:
            before = () if self._before is None else self._before.keys
            self._keys = page_keys(self.text, self._page_tokens * CHARS_PER_TOKEN, before)
            self._before = None
        return self._keys

    def then(self, text: str, num_tokens: int) -> "EventContext":
        """It and what follows."""
        if not self.text and self.num_tokens:  # known by its keys alone
            return EventContext("", self.num_tokens + num_tokens, self._page_tokens, self.keys)
        both = self.text + text
        return EventContext(both, self.num_tokens + num_tokens, self._page_tokens, before=self)

    def release(self) -> None:
        """There is nothing to give up."""


class Sequence(Ticket):
    """A prompt to compute, and so many tokens to generate behind it."""

    __slots__ = (
        *("request", "prompt", "text", "num_wanted", "num_generated", "num_computed"),
        *("num_cached", "num_prefilled", "num_locked", "finish_at", "begun"),
    )

    def __init__(
        self,
        request: Request,
        order: int,
        arrival_s: float,
        prompt: EventContext,
        num_wanted: int,
        text: str,
    ) -> None:
        place = request.place or NOWHERE
        if place.client or not place.query:  # what clients say is not believed here
            place = Place(request.id, 0.0, tenant=place.client or place.tenant)
        super().__init__(order, arrival_s, place, request.op, 1)
        self.request = request
        self.prompt = prompt
        self.num_wanted = num_wanted
        self.text = text  # that is said
        self.num_generated = 0  # up to date while it does not decode
        self.num_computed = 0  # tokens whose KV is there, while it is prefilled
        self.num_cached = 0  # of the prompt, when it began for the first time
        self.num_prefilled = 0  # tokens of prompts that were computed, those again included
        self.num_locked = 0  # pages
        self.finish_at = 0  # the step of the core's count in which its last token comes
        self.begun = 0  # how often it has begun

    @property
    def is_done(self) -> bool:
        return self.num_generated == self.num_wanted and self.num_prefilled > 0

    @property
    def length(self) -> int:
        """Tokens that are known."""
        return self.prompt.num_tokens + self.num_generated
