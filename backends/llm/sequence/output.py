"""How a decode's output grows: its tokens to text, the tokens that its grammar forces, its end."""

from collections.abc import Container

from backends.llm.sample.sampler import Pick
from backends.llm.sequence.generation import Generation
from backends.llm.sequence.sequence import Sequence


def start(sequence: Sequence, generation: Generation) -> None:
    """Append what the grammar forces before the first token is sampled, all but a last one: an
    output ends in a step."""
    matcher = generation.matcher
    if matcher is None or not generation.may_jump:
        return
    for token in matcher.forced()[: generation.max_new - 1]:
        matcher.consume(token)
        if matcher.is_finished:
            matcher.undo()
            return
        _append(sequence, generation, token)
        generation.num_forced += 1
        if generation.stops.is_stopped:
            return


def grow(sequence: Sequence, generation: Generation, pick: Pick, end_ids: Container[int]) -> bool:
    """Take a sampled token and all that it forces; True when the output ends with them. Emits.

    Raises EngineError when the grammar gave up, and whatever `emit` raises."""
    generation.num_sampled += 1
    if pick.logprob is not None:
        generation.logprobs.append(pick.logprob)
    is_ended = _take(sequence, generation, pick.token, end_ids)
    matcher = generation.matcher
    if matcher is not None and generation.may_jump and not is_ended:
        for token in matcher.forced():
            generation.num_forced += 1
            is_ended = _consume(sequence, generation, token)
            if is_ended:
                break
    if is_ended:
        _finish_text(generation)
    _emit(sequence, generation)
    return is_ended


def _take(sequence: Sequence, generation: Generation, token: int, end_ids: Container[int]) -> bool:
    if token in generation.sampling.stop_token_ids:
        generation.stop = token
    if generation.stop is None and token not in end_ids:
        return _consume(sequence, generation, token)
    if generation.matcher is not None:
        generation.matcher.check()
    generation.finish_reason = "stop"
    return True


def _consume(sequence: Sequence, generation: Generation, token: int) -> bool:
    if generation.matcher is not None:
        generation.matcher.consume(token)
    _append(sequence, generation, token)
    is_complete = generation.matcher is not None and generation.matcher.is_finished
    if generation.stops.is_stopped or is_complete:
        generation.finish_reason = "stop"
    elif sequence.num_output >= generation.max_new:
        generation.finish_reason = "length"
    return generation.finish_reason is not None


def _append(sequence: Sequence, generation: Generation, token: int) -> None:
    sequence.ids.append(token)
    if generation.logits_processor is not None:
        generation.logits_processor.add(token)
    piece = generation.detokenizer.push(token)
    if sequence.num_output > generation.sampling.min_tokens:
        piece = generation.stops.push(piece)
    if piece:
        generation.pieces.append(piece)


def _finish_text(generation: Generation) -> None:
    """Characters that never became whole, and what might have begun a stop string."""
    for piece in (generation.stops.push(generation.detokenizer.flush()), generation.stops.flush()):
        if piece:
            generation.pieces.append(piece)
    if generation.stops.found is not None:
        generation.finish_reason, generation.stop = "stop", generation.stops.found


def _emit(sequence: Sequence, generation: Generation) -> None:
    """Show the pieces that are new, and read them where they are a turn with tools."""
    emit, new = sequence.request.emit, "".join(generation.pieces[generation.num_shown :])
    generation.num_shown = len(generation.pieces)
    if generation.turn is not None:
        new = generation.turn.feed(new)
        new += generation.turn.finish() if generation.finish_reason is not None else ""
    if emit is not None and new:
        _emit_logprobs(sequence, generation)
        emit(new)


def _emit_logprobs(sequence: Sequence, generation: Generation) -> None:
    new = tuple(generation.logprobs[generation.num_told :])
    generation.num_told = len(generation.logprobs)
    if sequence.request.emit_logprobs is not None and new:
        sequence.request.emit_logprobs(new)
