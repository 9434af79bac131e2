"""What is kept for each event loop, and for how long."""

import asyncio
import gc
import os
import signal
import threading
import weakref

import pytest

from middleware._internal.per_loop import PerLoop

# The garbage collected here may contain event loops of a test framework.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def a_runner():
    """A runner that does not replace the thread's own event loop, which may be the test framework's."""
    return asyncio.Runner(loop_factory=asyncio.new_event_loop)


class Thing:
    """Anything that belongs to a loop."""


async def both(kept):
    return kept.get(), kept.get()


def test_each_loop_has_one_of_its_own():
    """Made when it is first asked for."""
    kept = PerLoop(Thing)
    with a_runner() as one, a_runner() as two:
        first, again = one.run(both(kept))
        other, _ = two.run(both(kept))
        assert first is again is not other
        assert dict(kept.drain()) == {one.get_loop(): first, two.get_loop(): other}
        assert kept.drain() == []
        assert two.run(both(kept))[0] is not other
        assert one.run(both(kept))[0] is not first


def test_what_belonged_to_a_closed_loop_is_forgotten():
    """Even while something still refers to that loop."""
    kept = PerLoop(Thing)
    with a_runner() as runner:
        runner.run(both(kept))
    assert kept.drain() == []
    with a_runner() as runner:
        gone = weakref.ref(runner.run(both(kept))[0])
        closed = runner.get_loop()
    with a_runner() as runner:
        here, _ = runner.run(both(kept))
        gc.collect()
        assert (closed.is_closed(), gone()) == (True, None)
        assert kept.drain() == [(runner.get_loop(), here)]


def test_what_belonged_to_a_closed_loop_is_ended_once():
    """By the next loop, or by a drain; what belongs to an open one is not."""
    ended, loops = [], []
    kept = PerLoop(Thing, ended.append)

    def job():
        with a_runner() as runner:
            loops.append(runner.get_loop())  # as each value refers to its own
            return runner.run(both(kept))[0]

    first, second = job(), job()
    assert ended == [first]
    with a_runner() as runner:
        third, _ = runner.run(both(kept))
        assert ended == [first, second]
        assert kept.drain() == [(runner.get_loop(), third)]
    fourth = job()
    assert kept.drain() == []
    assert ended == [first, second, fourth]


def test_turning_from_loop_to_loop_finds_each_ones_own():
    """The last result is remembered, for its loop only."""
    kept = PerLoop(Thing)
    with a_runner() as one, a_runner() as two:
        first, other = one.run(both(kept))[0], two.run(both(kept))[0]
        for _ in range(2):
            assert one.run(both(kept)) == (first, first)
            assert two.run(both(kept)) == (other, other)
        assert kept.all() == [first, other]


def test_a_closed_loop_counts_no_longer():
    """Before the next loop is made, too."""
    kept = PerLoop(Thing)
    with a_runner() as one:
        here, _ = one.run(both(kept))
        with a_runner() as two:
            two.run(both(kept))
        assert kept.all() == [here]


@pytest.mark.sockets
def test_a_process_made_by_fork_begins_without_any():
    """Though another thread of the parent was using it; what is the parent's stays open there."""
    kept = PerLoop(Thing)
    with a_runner() as runner:
        runner.run(both(kept))
        with kept._lock:
            pid = os.fork()
            if pid == 0:
                signal.alarm(10)  # ends a child that waits for a lock
                new = asyncio.new_event_loop()
                fine = kept.all() == kept.drain() == []
                fine = fine and new.run_until_complete(both(kept))[0] is not None
                os._exit(0 if fine and len(kept.drain()) == 1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert len(kept.all()) == 1


def test_the_answer_of_last_time_keeps_nothing_alive():
    """A client that is kept and not used keeps no loop alive, and nothing of it."""
    kept = PerLoop(Thing)
    with a_runner() as runner:
        gone = weakref.ref(runner.run(both(kept))[0])
    del runner
    gc.collect()
    assert gone() is None


class Slow(weakref.WeakKeyDictionary):
    """Values by loop, of which another thread removes all while one is looked up."""

    def get(self, key, default=None):
        found = super().get(key, default)
        other = threading.Thread(target=self.drain)
        other.start()
        other.join(0.05)  # it waits, or it is done
        self.others.append(other)
        return found


def test_what_is_removed_while_it_is_looked_up_is_not_returned_again():
    """The value that a drain has taken, and closes, is found once at most."""
    kept = PerLoop(Thing)
    with a_runner() as runner:
        first, _ = runner.run(both(kept))
        kept._last = None  # as after another loop's turn
        slow, taken = Slow(kept._known), []
        slow.others, slow.drain = [], lambda: taken.extend(kept.drain())
        kept._known = slow
        found, _ = runner.run(both(kept))
        for other in slow.others:
            other.join()
        assert found is first
        assert dict(taken)[runner.get_loop()] is first
        assert runner.run(both(kept))[0] is not first
