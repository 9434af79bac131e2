"""`python3 -m runtime config`: its subcommands, their help and their usage."""

import pytest

from runtime.cli.config import SUBCOMMANDS, main


def test_without_a_subcommand_all_are_listed(capsys):
    """On stderr, with exit code 2."""
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "simulate  run the stack in virtual time" in capsys.readouterr().err


def test_a_service_or_a_subcommand_comes_first(no_settings, capsys):
    """`config SERVICE [OPERATION]` prints as ever; no argument, or another word, is wrong usage."""
    assert main(["hosting", "deploy"]) == 0
    assert capsys.readouterr().out.startswith("deadline.total_s ")
    for wrong, said in ((["chek"], "no such service or subcommand: chek; did you mean check?"), ([], "SERVICE")):
        with pytest.raises(SystemExit, match="2"):
            main(wrong)
        assert said in capsys.readouterr().err
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name:<10}{one.help}\n" in shown for name, one in SUBCOMMANDS.items())
    assert "\n  python3 -m runtime config hosting deploy\n" in shown


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["schema", "--help"], ["show", "--help"]])
def test_help_has_an_example(arguments, capsys):
    """Of the command and of each subcommand."""
    try:
        code = main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    assert code == 0
    assert "examples:\n  python3 -m runtime config " in capsys.readouterr().out
