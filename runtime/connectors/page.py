"""Lists that know where they stand: one page of a longer list."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Generic, TypeVar

__all__ = ["Page"]

T = TypeVar("T")


class Page(list[T], Generic[T]):
    """
    One page of a list; a plain `list` to whoever does not care.

    Args:
        items: The items of this page.
        total: Items in the whole list; None when the platform does not tell.
        skip: Items before this page.
        limit: Largest size of a page that was asked for; None when no size was.
        fetch: Loads the page that begins after the given number of items.
    """

    __slots__ = ("_fetch", "limit", "skip", "total")

    def __init__(
        self,
        items: Iterable[T] = (),
        *,
        total: int | None = None,
        skip: int = 0,
        limit: int | None = None,
        fetch: Callable[[int], Awaitable["Page[T]"]] | None = None,
    ) -> None:
        super().__init__(items)
        self.total = total
        self.skip = skip
        self.limit = limit
        self._fetch = fetch

    @property
    def has_more(self) -> bool:
        """Does the list go on after this page? Judged by `total`, else by whether this page is full."""
        if not self:
            return False
        if self.total is not None:
            return self.skip + len(self) < self.total
        return self.limit is not None and len(self) >= self.limit

    async def pages(self, *, max_pages: int = 100) -> AsyncIterator["Page[T]"]:
        """
        Iterate over this page and those that follow, loading each when it is due.

        Args:
            max_pages: Bound on the pages given, so that a platform that never ends its list cannot hold the caller.

        Raises:
            CallError: Loading a page failed.
        """
        page = self
        for number in range(1, max_pages + 1):
            yield page
            if number == max_pages or page._fetch is None or not page.has_more:
                return
            page = await page._fetch(page.skip + len(page))
            if not page:
                return
