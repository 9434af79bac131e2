"""The loggers of the library: found for each line, and registered by the host alone."""

import logging

import pytest

from middleware._internal.loggers import LibraryLogger, write_record


class Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def names(request):
    """A logger of three levels that no other test uses: its own name, its parent's and that one's."""
    top = f"top-{abs(hash(request.node.name))}"
    return f"{top}.middle.own", f"{top}.middle", top


@pytest.fixture
def root(monkeypatch):
    """The root logger, at WARNING."""
    logger = logging.getLogger()
    monkeypatch.setattr(logger, "level", logging.WARNING)
    logging.root.manager._clear_cache()
    yield logger
    logging.disable(logging.NOTSET)
    logging.root.manager._clear_cache()


def is_written(logger, *levels):
    return [logger.enabled(level) is not None for level in levels or (logging.INFO, logging.WARNING)]


def test_the_level_is_that_of_the_nearest_ancestor(root, names):
    """At each line: whichever of them the host makes, or changes, in whichever order."""
    own, middle, top = names
    logger = LibraryLogger(own)
    assert is_written(logger) == [False, True]
    logging.getLogger(top).setLevel(logging.INFO)
    assert is_written(logger) == [True, True]
    logging.getLogger(middle).setLevel(logging.ERROR)
    assert is_written(logger) == [False, False]
    logging.getLogger(own).setLevel(logging.DEBUG)
    assert is_written(logger) == [True, True]
    assert logger.enabled(logging.INFO) is logging.getLogger(own)
    logging.getLogger(own).disabled = True
    assert is_written(logger) == [False, False]


def test_a_level_of_the_root_is_followed(root, names):
    """It is not cached."""
    logger = LibraryLogger(names[0])
    assert is_written(logger) == [False, True]
    root.setLevel(logging.INFO)
    assert is_written(logger) == [True, True]
    root.setLevel(logging.ERROR)
    assert is_written(logger, logging.WARNING, logging.ERROR) == [False, True]


def test_what_disables_all_of_logging_disables_it_too(root, names):
    """Up to and with that level."""
    logging.disable(logging.WARNING)
    assert is_written(LibraryLogger(names[0]), logging.WARNING, logging.ERROR) == [False, True]


def test_a_placeholder_is_no_logger(root, names):
    """The logging module keeps one for a name that only a longer name has made known."""
    own, middle, _ = names
    logging.getLogger(f"{own}.below")
    logger = LibraryLogger(own)
    assert is_written(logger) == [False, True]
    assert logger.enabled(logging.WARNING).parent is root
    assert not isinstance(logging.root.manager.loggerDict[middle], logging.Logger)


def test_a_disabled_ancestor_disables_its_own_lines_alone(root, names):
    """As for any logger below it."""
    logging.getLogger(names[1]).disabled = True
    assert is_written(LibraryLogger(names[0])) == [False, True]


def test_a_line_goes_to_the_handlers_of_its_ancestors(root, names):
    """Once each, with the name, the fields and the line of the caller."""
    handler = Records()
    logging.getLogger(names[1]).addHandler(handler)
    logger = LibraryLogger(names[0])
    logger.log(logging.WARNING, "100% %s", {"name": "not this", "route": "/r"})
    logger.log(logging.INFO, "not enabled", {})
    (record,) = handler.records
    assert record.name == names[0]
    assert record.route == "/r"
    assert record.getMessage() == "100% %s"
    assert record.pathname == __file__
    assert record.funcName == "test_a_line_goes_to_the_handlers_of_its_ancestors"


@pytest.mark.parametrize("prints", [False, True])
@pytest.mark.parametrize("is_fetched", [False, True])
def test_without_any_handler_lines_are_printed_where_they_are_for_that_alone(
    monkeypatch, names, capsys, prints, is_fetched
):
    """By Python's last resort, on stderr."""
    own = names[0]
    if is_fetched:
        logging.getLogger(own)
    logger = LibraryLogger(own, prints_unconfigured=prints)
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler())
    for _ in range(2):
        logger.log(logging.WARNING, "said", {})
    assert capsys.readouterr().err.split() == ["said"] * 2 * prints


def test_a_record_is_of_the_line_that_writes_it(names):
    """Or of a caller further up."""
    handler, logger = Records(), logging.getLogger(names[0])
    logger.addHandler(handler)

    def inner(stacklevel):
        write_record(logger, logging.ERROR, "x", {}, stacklevel=stacklevel)

    inner(1)
    inner(2)
    functions = [record.funcName for record in handler.records]
    assert functions == ["inner", "test_a_record_is_of_the_line_that_writes_it"]
