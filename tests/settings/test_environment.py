"""The process's environment, as the loader reads it."""

import os
import threading
import time

import pytest

from runtime.settings import Environment

OTHERS = 300


@pytest.fixture
def environment(monkeypatch):
    """The environment of a process in a cluster: many variables, none of them ours."""
    for name in list(os.environ):
        if name.startswith("OWN_"):
            monkeypatch.delenv(name)
    for index in range(OTHERS):
        monkeypatch.setenv(f"SVC_{index}_SERVICE_HOST", "10.0.0.1")
    return monkeypatch


def is_own(name):
    return name.startswith("OWN_")


def test_our_variables_are_read_with_their_values(environment):
    """Each time as they are then: set, changed, empty, removed."""
    found = Environment(is_own)
    assert found.own() == ()
    environment.setenv("OWN_A", "1")
    environment.setenv("OWN_B", "")
    assert sorted(found.own()) == [("OWN_A", "1"), ("OWN_B", "")]
    environment.setenv("OWN_A", "2")
    environment.delenv("OWN_B")
    environment.setenv("ANOTHER", "x")
    assert found.own() == (("OWN_A", "2"),)


def test_other_programs_values_are_never_read(environment):
    """Their names alone, which may be typos; what appears in between is not there with another's value."""
    read = []
    real = type(os.environ).__getitem__
    environment.setattr(type(os.environ), "__getitem__", lambda self, name: [read.append(name), real(self, name)][1])
    environment.setenv("OWN_A", "1")
    found = Environment(is_own)
    own = found.own()
    environment.setenv("OWN_LATER", "2")
    names = found.with_names(own)
    assert {name for name in read if not is_own(name)} <= {"PYTEST_CURRENT_TEST"}
    assert names["OWN_A"] == "1"
    assert names["SVC_0_SERVICE_HOST"] == ""
    assert "OWN_LATER" not in names


def test_names_are_looked_through_once_per_list(environment):
    """A variable of another program costs no call at all while no name is added or removed."""
    looked = []
    environment.setenv("OWN_A", "1")
    found = Environment(lambda name: looked.append(name) or is_own(name))
    for _ in range(5):
        assert found.own() == (("OWN_A", "1"),)
    assert len(looked) == len(os.environ)
    environment.setenv("SVC_NEW", "1")
    found.own()
    assert len(looked) == 2 * len(os.environ) - 1


def test_a_mapping_of_a_test_is_read_too(monkeypatch):
    """As a host's test may put one in the place of `os.environ`."""
    monkeypatch.setattr(os, "environ", {"OWN_A": "1", "OTHER": "2"})
    found = Environment(is_own)
    assert found.own() == (("OWN_A", "1"),)
    assert found.with_names(found.own()) == {"OWN_A": "1", "OTHER": ""}


@pytest.mark.torture
def test_other_threads_may_change_it_meanwhile(environment):
    """Reading never fails, and gives what was set at some moment."""
    environment.setenv("OWN_A", "1")
    found, failed, ends = Environment(is_own), [], time.monotonic() + 1.0

    def change(name):
        while time.monotonic() < ends:
            os.environ[name] = "1"
            os.environ.pop(name, None)

    def read():
        while time.monotonic() < ends:
            try:
                own = dict(found.own())
                assert own.pop("OWN_A") == "1"
                assert own in ({}, {"OWN_B": "1"})
                found.with_names(found.own())
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=change, args=[name]) for name in ("OWN_B", "SVC_X")]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
