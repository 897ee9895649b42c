"""Runs schemathesis against a server and the document that it serves.

As a process of its own: its plugin for pytest would cost every run of the tests a second or two.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
)
_PASSED_OVER = ("Read and not used", "Without effect", "Not supported")


def run_schemathesis(url: str, folder: Path, *options: str, max_examples: int = 10) -> int:
    """How many requests were sent; a failed check fails the test. Answers may have no field that
    the document does not name."""
    file = folder / "openapi.json"
    file.write_text(json.dumps(_strict(httpx.get(f"{url}/openapi.json").json())))
    command = [Path(sys.executable).parent / "schemathesis", "run", str(file), "--url", url]
    command += ["--checks", ",".join(CHECKS), "--max-examples", str(max_examples)]
    command += ["--phases", "coverage,fuzzing", "--seed", "1", "--generation-deterministic"]
    command += ["--suppress-health-check", "all", "--warnings", "off", "--no-color"]
    command += ["--continue-on-failure", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = re.search(r"(\d+) generated", done.stdout)
    assert found is not None, done.stdout
    return int(found[1])


def _strict(document: dict[str, Any]) -> dict[str, Any]:
    """Objects closed, and without the fields that are passed over, which have tests of their own:
    each of them is a score of requests to each route."""
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
            schema["properties"] = {
                name: field
                for name, field in schema["properties"].items()
                if not field.get("description", "").startswith(_PASSED_OVER)
            }
    return document
