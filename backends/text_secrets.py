"""Keys in texts that are written down: in URLs, as headers name them, and those of this process."""

import os
import re

from backends.url_secrets import without_url_secrets

_KEY_NAME = (
    r"(?:api[-_ ]?key|(?:access|secret|private)[-_]?key|(?:access|auth|refresh|session)[-_]?token"
    r"|client[-_]?secret|password|passwd|pwd)"
)
_OPEN = r"(?:[bu]?['\"])?"  # of a quoted text, as repr() writes it
_IS = rf"['\"]?\s{{0,8}}[:=]\s{{0,8}}{_OPEN}"
_VALUE = r"(?=[^\s'\",;)\]}]{0,200}\d)[^\s'\",;)\]}]{6,}"
_HEADER = (
    rf"(\bauthorization['\"]?\s{{0,8}}[:=,]\s{{0,8}}{_OPEN}(?:[a-z]{{1,20}}\s{{1,8}})?)"
    r"(?=[^\s'\",;]{0,200}[\d=])[^\s'\",;]+"
)
_BEARER = rf"(\bbearer\s{{1,8}}){_VALUE}"
_NAMED = rf"({_KEY_NAME}{_IS}){_VALUE}"
# As providers begin them.
_KNOWN = r"(\b(?:sk|ghp|gho|hf|xox[bp]|glpat)[-_])(?=[\w-]{0,200}\d)[\w-]{12,}"
_IN_CAPITALS = rf"(_(?:KEY|TOKEN|SECRET){_IS}){_VALUE}"  # AWS_SECRET_ACCESS_KEY=
_SECRETS = (
    *(re.compile(each, re.IGNORECASE) for each in (_HEADER, _BEARER, _NAMED)),
    *map(re.compile, (_KNOWN, _IN_CAPITALS)),
)
_VARIABLE = re.compile(r"(?:key|token|password|passwd|secret|credentials?)$", re.IGNORECASE)
_NO_KEY = re.compile(r"^[./~]|\s|^\D*$")  # the path of a file with one, a sentence, a word
_LEAST_LEN = 12  # of a variable's value that is taken for a key


def without_secrets(text: str) -> str:
    """A text as it may be written down: `Authorization: Bearer ***`, `api_key='***'`; also without
    the values of environment variables that are named like keys (`OPENAI_API_KEY`). A word without
    a digit is taken for no key: apps go by the texts of errors, also where a run goes on."""
    for value in _keys_of_process():
        text = text.replace(value, "***")
    for secret in _SECRETS:
        text = secret.sub(r"\1***", text)
    return without_url_secrets(text)


def _keys_of_process() -> list[str]:
    found = (value for name, value in os.environ.items() if _VARIABLE.search(name))
    keys = [value for value in found if len(value) >= _LEAST_LEN and not _NO_KEY.search(value)]
    return sorted(keys, key=len, reverse=True)
