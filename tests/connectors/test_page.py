"""Pages of lists."""

import pytest

from runtime.connectors.base import Page


def test_a_page_is_a_list():
    """A caller that does not need paging can use it as a list."""
    page = Page([1, 2], total=5, skip=0, limit=2)
    assert page == [1, 2]
    assert isinstance(page, list)
    assert Page().total is None
    assert Page().skip == 0
    assert Page().limit is None


@pytest.mark.parametrize(
    ("page", "more"),
    [
        (Page([1, 2], total=5, limit=2), True),
        (Page([5], total=5, skip=4, limit=2), False),
        (Page([5], total=6, skip=4), True),
        (Page([4], total=5, skip=4), False),
        (Page([6], total=5, skip=6), False),
        (Page([], total=5, limit=2), False),
        (Page([1, 2], total=2, limit=2), False),
        (Page([1, 2, 3], limit=2), True),
        (Page([1, 2], limit=2), True),
        (Page([1], limit=2), False),
        (Page([1]), False),
    ],
)
def test_has_more(page, more):
    """Decided by the total, else by whether the page is full."""
    assert page.has_more is more


async def test_an_endless_list_is_bounded():
    """The iteration ends even if the platform's list does not."""
    loads = []

    async def load(skip):
        loads.append(skip)
        return Page([1], total=10**9, skip=skip, limit=1, fetch=load)

    pages = [page async for page in (await load(0)).pages(max_pages=3)]
    assert len(pages) == 3
    assert loads == [0, 1, 2]
    assert [page async for page in (await load(7)).pages(max_pages=1)] == [[1]]
    assert [page async for page in (await load(7)).pages(max_pages=0)] == []
    assert len([page async for page in (await load(0)).pages()]) == 100


async def test_pages_follow_each_other():
    """Each starts where the previous one ended; a page without `fetch` is the last."""

    async def load(skip):
        found = range(skip, min(skip + 2, 5))
        return Page(found, total=5, skip=skip, limit=2, fetch=load)

    assert [page async for page in (await load(0)).pages()] == [[0, 1], [2, 3], [4]]
    assert [page async for page in (await load(1)).pages()] == [[1, 2], [3, 4]]
    assert [page async for page in Page([1], total=5).pages()] == [[1]]


async def test_an_empty_page_ends_the_list():
    """Even if the total is larger."""

    async def load(skip):
        return Page([], total=9, skip=skip, limit=1, fetch=load)

    assert [list(page) async for page in Page([1], total=9, limit=1, fetch=load).pages()] == [[1]]
