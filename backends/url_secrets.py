"""What commands print of a URL: passwords and keys in it are ***."""

import re

_STAR = r"\1***"
_NAME = r"[\w.%-]*(?:key|token|password|passwd|pwd|secret|signature|credentials?|auth)"
_END = r"'\",;:.)\]}"  # ends a URL in a text where a space or another of these follows
_VALUE = rf"(?:[^&\s#{_END}]|[{_END}](?![\s{_END}]|$))*"
_IN_QUERY = re.compile(rf"([?&;#]{_NAME}=){_VALUE}", re.IGNORECASE)
# Also one with a slash in it; a number and a slash are a port.
_PASSWORD = re.compile(r"(//[^\s/:@\[]*:)(?!\d{1,5}[/,?#])[^\s@'\"]*(?=@)")
_LONE_KEY = re.compile(r"(//)(?!(?<=postgresql://)|(?<=postgres://))[^\s/:@?#]+(?=@)")


def without_url_secrets(text: str) -> str:
    """A URL, or a text with URLs in it, as it may be shown; the user of a database stays."""
    for secret in (_IN_QUERY, _PASSWORD, _LONE_KEY):
        text = secret.sub(_STAR, text)
    return text
