"""Documents of a mock's objects, as the platform writes them."""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from runtime.conformance import documents
from runtime.connectors.decoding import decoder


@dataclass(frozen=True)
class Lease:
    lasts: timedelta


@pytest.mark.parametrize(
    "lasts", [timedelta(days=2, seconds=1), timedelta(hours=-3), timedelta(microseconds=5)], ids=str
)
def test_a_duration_of_a_mock_is_written_as_the_platform_writes_it(lasts):
    """`str` of it is read by nothing where it is a day or more, or negative."""
    assert decoder(Lease)(documents.encoded(Lease(lasts))) == Lease(lasts)
