"""Blocking work in threads of its own, one at a time for each key."""

import asyncio
import errno
import gc
import logging
import threading

import pytest

from middleware._internal.single_flight import SingleFlight


class Work:
    """Blocking work that waits until the test releases it; counts its runs."""

    def __init__(self, result="done"):
        self.release, self.started, self.runs, self._result = threading.Event(), threading.Event(), 0, result

    def __call__(self):
        self.runs += 1
        self.started.set()
        assert self.release.wait(5)
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result


async def begun(*runs):
    tasks = [asyncio.create_task(run) for run in runs]
    await asyncio.sleep(0)
    return tasks


async def test_all_that_wait_for_a_key_share_one_run():
    """The next one after it runs anew."""
    flights, work = SingleFlight(), Work()
    tasks = await begun(*(flights.run("a", work) for _ in range(20)))
    work.release.set()
    assert await asyncio.gather(*tasks) == ["done"] * 20
    assert (work.runs, await flights.run("a", work), work.runs) == (1, "done", 2)


async def test_work_that_hangs_stops_no_other_key():
    """However many hang: each key has a thread of its own, which does not keep the program from ending."""
    flights, hanging = SingleFlight(), Work()
    tasks = await begun(*(flights.run(f"hangs-{number}", hanging) for number in range(100)))
    try:
        assert await flights.run("fine", lambda: "fine") == "fine"
        assert await asyncio.to_thread(lambda: "fine too") == "fine too"
        ours = [thread for thread in threading.enumerate() if thread.name.startswith("mozaiks-hangs-")]
        assert len(ours) == 100
        assert all(thread.daemon for thread in ours)
    finally:
        hanging.release.set()
    await asyncio.gather(*tasks)


async def test_one_that_no_longer_waits_ends_it_for_none_of_the_others():
    """The work goes on even when all were cancelled, and who comes meanwhile shares it."""
    flights, work = SingleFlight(), Work()
    first, second = await begun(flights.run("a", work), flights.run("a", work))
    first.cancel()
    await asyncio.wait([first])
    second.cancel()
    await asyncio.wait([second])
    (third,) = await begun(flights.run("a", work))
    work.release.set()
    assert (await third, work.runs) == ("done", 1)


async def test_each_gets_an_error_of_its_own():
    """One object would collect the tracebacks of all."""
    flights, work = SingleFlight(), Work(OSError(errno.ENOENT, "gone"))
    tasks = await begun(*(flights.run("a", work) for _ in range(3)))
    work.release.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert len({id(error) for error in errors}) == 3
    assert {(type(error), error.errno, error.strerror) for error in errors} == {
        (FileNotFoundError, errno.ENOENT, "gone")
    }


def test_two_event_loops_share_one_run():
    """In two threads."""
    flights, work, results = SingleFlight(), Work(), []

    def other():
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            results.append(runner.run(flights.run("a", work)))

    threads = [threading.Thread(target=other) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert work.started.wait(5)
    while len(flights._waiting["a"]) < 2:
        pass
    work.release.set()
    for thread in threads:
        thread.join()
    assert results == ["done", "done"]
    assert work.runs == 1


def test_a_loop_that_was_closed_meanwhile_is_no_trouble(caplog):
    """Nothing is logged, and the other one gets the result."""
    caplog.set_level(logging.DEBUG)
    flights, work = SingleFlight(), Work()
    gone = asyncio.new_event_loop()
    waiting = gone.create_task(flights.run("a", work))
    gone.run_until_complete(asyncio.sleep(0))
    gone.close()

    async def another():
        (task,) = await begun(flights.run("a", work))
        work.release.set()
        return await task

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        assert runner.run(another()) == "done"
    waiting._log_destroy_pending = False
    del waiting
    gc.collect()
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


async def test_a_thread_that_cannot_be_started_is_the_systems_error(monkeypatch):
    """With the number that the operating system gives it; the next one is free to start."""
    flights = SingleFlight()

    def start(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(OSError, match="can't start new thread") as caught:
            await flights.run("a", lambda: "done")
    assert caught.value.errno == errno.EAGAIN
    assert await flights.run("a", lambda: "done") == "done"
