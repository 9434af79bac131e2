"""What tests of the page of traces share."""

import pytest
from browser import BROWSER, Driver


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("no browser here: the page is checked by its markup alone")
    with Driver() as driver:
        yield driver
