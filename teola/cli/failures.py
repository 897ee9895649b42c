"""From exceptions to one message on stderr and an exit code."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from backends.text_secrets import without_secrets

FAILED, WRONG_USAGE, WAITING, IN_DOUBT, INTERRUPTED = 1, 2, 3, 4, 130
PIPE_CLOSED = 141  # as of a command that SIGPIPE ends: the reader, `head`, had enough


class UsageError(Exception):
    """The command line is wrong; exit code 2."""


class CommandError(Exception):
    """The command cannot do its work; exit code 1."""


@contextmanager
def reported(debug: bool = False) -> Iterator[None]:
    """End the process with one message for any error inside; `debug` shows the stack trace too."""
    try:
        yield
    except KeyboardInterrupt:
        _say("interrupted")
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(PIPE_CLOSED) from None
    except Exception as error:
        if debug:
            _say(traceback.format_exc().rstrip())
        _say(f"error: {message_of(error)}")
        raise SystemExit(exit_code_of(error)) from None


def exit_code_of(error: Exception) -> int:
    from teola.errors import ApprovalPending, ArgumentError, EffectInDoubt, NodeFailed

    while isinstance(error, NodeFailed) and isinstance(error.cause, (ApprovalPending, NodeFailed)):
        error = error.cause  # of an agent inside
    if isinstance(error, ApprovalPending):
        return WAITING
    if isinstance(error, EffectInDoubt):
        return IN_DOUBT
    return WRONG_USAGE if isinstance(error, (UsageError, ArgumentError)) else FAILED


def message_of(error: Exception) -> str:
    """What went wrong, in one sentence or a few lines; never a stack trace."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    text = str(error) or type(error).__name__
    if is_expected(error):
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"


def is_expected(error: Exception) -> bool:
    """Whether the message of this error is written for people."""
    from teola import errors

    return isinstance(error, (*errors.ALL, UsageError, CommandError, ValueError))


def _say(message: str) -> None:
    print(without_secrets(message), file=sys.stderr, flush=True)
