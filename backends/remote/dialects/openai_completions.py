"""`POST /v1/completions`: a prompt without turns, taken as it is."""

from collections.abc import Mapping
from typing import Any

from backends.errors import RequestRejected
from backends.remote.answer_form import completion_form
from backends.remote.dialects.openai_chat import add_end, count_usage
from backends.remote.dialects.text_dialect import Written
from backends.remote.drafts import Draft, Drafts, completion_logprobs
from backends.remote.messages import content_parts
from backends.remote.servers import TextServer
from backends.remote.text_call import TextCall
from backends.remote.text_fields import refuse, shared_fields


class OpenAICompletions:
    """Text in, text out; turns would need the model's template."""

    def __init__(self, model: str, server: TextServer) -> None:
        self.max_samples = 128
        self._model = model
        self._server = server

    def write(self, call: TextCall, is_stream: bool) -> Written:
        if call.prompt.turns:
            raise RequestRejected(
                "plain completions take prompts without turns: use api='chat' for a conversation"
            )
        if call.tools:
            refuse("tools", "plain completions", "use api='chat'")
        form = completion_form(call, self._server.forms)
        body = {
            "prompt": content_parts(call.prompt.pieces) or call.prompt.text,
            **shared_fields(call, self._model, self._server),
            "max_tokens": call.sampling.max_tokens,
            "temperature": call.sampling.temperature,
            **form.fields,
        }
        if call.sampling.logprobs is not None:
            body["logprobs"] = call.sampling.logprobs
        if is_stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return Written("/v1/completions", body, form)

    def read(self, event: Any, drafts: Drafts) -> str:
        new = ""
        for choice in event.get("choices") or ():
            index = choice.get("index", 0)
            _add(choice, drafts.of(index))
            new += (choice.get("text") or "") if index == 0 else ""
        count_usage(event.get("usage"), drafts)
        return new

    def learn(self, refusal: str, call: TextCall, body: Mapping[str, Any]) -> bool:  # noqa: ARG002
        return False


def _add(choice: Mapping[str, Any], draft: Draft) -> None:
    draft.text.append(choice.get("text") or "")
    if choice.get("logprobs"):
        draft.logprobs += completion_logprobs(choice["logprobs"])
    add_end(choice, draft)
