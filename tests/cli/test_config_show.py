"""
`python3 -m runtime config show`: mode, settings with their origins, certificates, and what another file would change.

Also the tests of `runtime.cli.config_settings`.
"""

import json

import pytest
import trustme

from runtime.cli.config import main

PREFIX = "MOZAIKS_CONNECTORS_"


@pytest.fixture
def file(tmp_path, no_settings, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "settings.toml"
    path.write_text("[services.hosting.retry]\nmax_attempts = 5\n")
    return path


def test_mode_and_reason_come_first(file, no_settings, capsys):
    """Then the values for all services, and what differs for a service or an operation, with its origin."""
    no_settings.setenv(f"{PREFIX}DEADLINE_TOTAL_S", "20")
    no_settings.setenv("MOZAIKS_MANAGED", "1")
    no_settings.setenv("MOZAIKS_GATEWAY_BASE_URL", "https://gateway.test")
    assert main(["show", "--file", "settings.toml"]) == 0
    head, of_all, *others = capsys.readouterr().out.split("\n\n")
    lines = head.splitlines()
    assert lines[0] == "mode    managed: MOZAIKS_MANAGED is on, and MOZAIKS_GATEWAY_BASE_URL is set"
    assert lines[1] == "file    settings.toml"
    assert lines[2] == "opened  no certificate, key or CA file is set"
    assert lines[3].startswith("hash    hosting ")
    assert of_all.splitlines()[:2] == [
        "all services",
        f"deadline.total_s                   20.0          {PREFIX}DEADLINE_TOTAL_S",
    ]
    assert [one.split() for one in others] == [
        ["hosting", "retry.max_attempts", "5", "settings.toml:2:", "services.hosting.retry.max_attempts"],
        ["payment.checkout", "retry.max_attempts", "1", "declared", "by", "payment.checkout"],
        ["payment.cancel", "retry.max_attempts", "1", "declared", "by", "payment.cancel"],
    ]


def test_one_operation_has_all_its_settings(file, capsys):
    """Text and JSON have the same."""
    assert main(["show", "hosting", "deploy", "--file", "settings.toml", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["mode"] == "self_hosted"
    assert document["file"] == "settings.toml"
    assert list(document["hashes"]) == ["hosting"]
    rows = {row["name"]: row for row in document["settings"]["hosting.deploy"]}
    assert rows["retry.max_attempts"] == {
        "name": "retry.max_attempts",
        "value": 5,
        "origin": "settings.toml:2: services.hosting.retry.max_attempts",
    }
    assert main(["show", "hosting", "deploy", "--file", "settings.toml"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4 + 2 + len(rows)


def test_the_files_of_certificates_are_opened(file, tmp_path, capsys):
    """One that cannot be used is an error with its place."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    file.write_text('[services.identity.transport]\nca_file = "ca.pem"\n')
    assert main(["show", "--file", "settings.toml"]) == 0
    assert "\nopened  ca.pem\n" in capsys.readouterr().out
    file.write_text('[services.identity.transport]\nca_file = "gone.pem"\n')
    assert main(["show", "--file", "settings.toml"]) == 3
    assert capsys.readouterr().err.startswith("settings.toml:2: services.identity.transport.ca_file: cannot be used")


def test_a_comparison_shows_what_would_change(file, tmp_path, capsys):
    """Each value with its scope, in text and JSON; what a reload cannot change says so."""
    other = tmp_path / "other.toml"
    other.write_text("[retry]\nmax_attempts = 2\n[services.billing.transport]\ndns_cache_s = 1\n")
    compare = ["show", "--file", "settings.toml", "--diff", "other.toml"]
    assert main(compare) == 0
    assert capsys.readouterr().out.splitlines() == [
        "retry.max_attempts: 3 (default) -> 2",
        "billing.transport.dns_cache_s: 5.0 (default) -> 1 (needs a restart)",
        "hosting.retry.max_attempts: 5 -> 2 (all services)",
    ]
    assert main([*compare, "--json"]) == 0
    first, *_ = json.loads(capsys.readouterr().out)
    assert first == {
        "scope": "all services",
        "name": "retry.max_attempts",
        "before": "3 (default)",
        "after": "2",
        "needs_restart": False,
    }
    assert main([*compare[:1], "identity", *compare[1:]]) == 0
    assert capsys.readouterr().out == "retry.max_attempts: 3 (default) -> 2\n"
    assert main(["show", "--file", "settings.toml", "--diff", "settings.toml"]) == 0
    assert capsys.readouterr().out == "No setting differs.\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--file", "gone.toml"], "no such file: gone.toml"),
        (["--diff", "gone.toml"], "no such file: gone.toml"),
        (["hostin"], "argument SERVICE: no such service: hostin; did you mean hosting?"),
        (["hosting", "deploi"], "argument operation: hosting has list_apps"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_usage(file, arguments, text, capsys):
    """Exit code 2."""
    with pytest.raises(SystemExit) as exit_:
        main(["show", *arguments])
    assert exit_.value.code == 2
    assert text in capsys.readouterr().err


def test_wrong_settings_are_exit_code_3(file, capsys):
    """Of either file, each problem on stderr."""
    (file.parent / "wrong.toml").write_text("[retry]\nmax_attempts = 0\n")
    assert main(["show", "--file", "wrong.toml"]) == 3
    assert main(["show", "--diff", "wrong.toml"]) == 3
    assert capsys.readouterr().err == "wrong.toml:2: retry.max_attempts: must be >= 1, got 0\n" * 2
