"""Keys in texts that are written down: in URLs, as headers name them, and those of this process."""

import os
import re

from backends.url_secrets import without_url_secrets

_KEY_NAME = r"(?:api[-_ ]?key|access[-_]?token|auth[-_]?token|client[-_]?secret|password|passwd)"
_IS = r"['\"]?\s*[:=]\s*['\"]?"
_HEADER = rf"(\bauthorization{_IS}(?:(?:bearer|basic|token)\s+)?)[^\s'\",;]+"
_BEARER = (
    r"(\bbearer\s+)(?=[^\s'\",;]*\d)[^\s'\",;]{8,}"  # a digit: "bearer authentication" is none
)
_NAMED = rf"({_KEY_NAME}{_IS})[^\s'\",;)\]}}]+"
_SECRETS = tuple(re.compile(each, re.IGNORECASE) for each in (_HEADER, _BEARER, _NAMED))
_VARIABLE = re.compile(r"(?:key|token|password|passwd|secret|credentials?)$", re.IGNORECASE)
_NO_KEY = re.compile(r"^[./~]|\s")  # the path of a file with one, or a sentence
_LEAST_LEN = 12  # of a variable's value that is taken for a key


def without_secrets(text: str) -> str:
    """A text as it may be written down: `Authorization: Bearer ***`, `api_key='***'`; also without
    the values of environment variables that are named like keys (`OPENAI_API_KEY`)."""
    for value in _keys_of_process():
        text = text.replace(value, "***")
    for secret in _SECRETS:
        text = secret.sub(r"\1***", text)
    return without_url_secrets(text)


def _keys_of_process() -> list[str]:
    found = (value for name, value in os.environ.items() if _VARIABLE.search(name))
    keys = [value for value in found if len(value) >= _LEAST_LEN and not _NO_KEY.search(value)]
    return sorted(keys, key=len, reverse=True)
