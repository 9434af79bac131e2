"""Arguments that `config explain` and `config simulate` share: the operation, the settings, and numbers."""

import pytest

from runtime.cli.config import main


@pytest.fixture(autouse=True)
def in_folder(no_settings, tmp_path):
    """No settings from outside, and a folder for files."""
    no_settings.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "hosting", "--fault", "brownout"], "a single call is explained under"),
        (["explain", "hosting", "nothing"], "argument OPERATION: hosting has"),
        (["explain", "hosting", "--file", "no.toml"], "no such file: no.toml"),
        (["simulate", "hosting", "--fault", "x", "--rps", "1"], "no such model"),
        (["simulate", "hosting", "--fault", "hang", "--rps", "0"], "the rate must be at least 0.001"),
        (["simulate", "hosting", "--fault", "hang", "--rps", "1", "--ill", "9-3"], "must end after it begins"),
        (["simulate", "hosting", "--fault", "hang", "--rps", "1", "--ill", "60-70"], "must begin before the end"),
        (["simulate", "hosting", "--fault", "hang", "--rps", "1", "--seeds", "1.5"], "seeds must be a whole number"),
        (["simulate", "hosting", "--fault", "hang", "--rps", "1", "--vs", "no.toml"], "no such file: no.toml"),
    ],
)
def test_wrong_usage_is_named(arguments, said, capsys):
    """Exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
