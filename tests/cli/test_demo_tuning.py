"""`demo --tuning`: the story, and the page of the tutorial."""

import json
import re

import pytest
from demo_support import ROOT, run_demo

pytestmark = pytest.mark.sockets


def test_the_story_of_tuning_holds_and_is_that_of_the_tutorial():
    """Every check; and each command prints what the page shows, which has the same two files."""
    result = run_demo("--tuning", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert document["ok"]
    page = (ROOT / "docs" / "tuning-tutorial.md").read_text()
    outputs = [step["output"] for step in document["steps"]]
    printed = [block for output in outputs for block in re.split(r"^(?=\$ )", output, flags=re.MULTILINE) if block]
    commands = [block for block in printed if block.startswith("$ python3")]
    assert len(commands) == 2
    assert [block for block in commands if f"```text\n{block}```" not in page] == []
    for block in printed:
        if block.startswith("$ cat "):
            command, policy = block.split("\n", 1)
            policy = policy.partition("\nlogged at the start")[0].rstrip()
            assert f"```toml\n# {command.removeprefix('$ cat ')}\n{policy}\n```" in page
    assert "settings.toml:2: attempt.timeout_s" in outputs[0]
    attempts = [[len(trace["attempts"]) for trace in step["traces"]] for step in document["steps"]]
    assert attempts[0] == [1]
    assert attempts[-2] in ([2], [3])
