"""Processes that share a quota: how the requests of each are counted. The server of a quota: `test_redis_limiter.py`."""

from runtime.cli import replicas


def test_requests_are_counted_by_second_and_process():
    """Those of other programs, from before the beginning and from after the end are left out."""

    def request(at_s, sender):
        return {"at_s": at_s, "headers": [("x-correlation-id", sender)]}

    ours = [(9.9, 0), (10.0, 0), (10.4, 1), (11.9, 1), (12.0, 0)]
    log = [*(request(at_s, f"{replicas._PREFIX}{number}") for at_s, number in ours), request(10.5, "another")]
    counted = replicas.per_second(log, count=2, began_at=10.0, seconds=2)
    assert counted.seconds == [[1, 1], [0, 1]]
    assert counted.totals == [2, 1]
    assert counted.by_replica == [1, 2]
