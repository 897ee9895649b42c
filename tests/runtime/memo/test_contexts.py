"""What makes two contexts of equal parts different."""

from backends.base import Turn
from runtime.memo.contexts import ContextContents

PARTS = (Turn("user"), "Hi")


def test_contexts_with_other_tools_have_other_content() -> None:
    contents = ContextContents()
    tools = [{"name": "find", "parameters": {"type": "object", "properties": {"q": {}}}}]
    digests = {
        contents.after(contents.digest_of(None), PARTS, attrs)
        for attrs in ({}, {"tools": tools}, {"tools": [{"name": "read"}]})
    }
    assert len(digests) == 3
    again = contents.after(contents.digest_of(None), PARTS, {"tools": list(tools)})
    assert again in digests
