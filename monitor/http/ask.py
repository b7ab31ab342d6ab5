"""The calls of the API, made for somebody who is signed in: the console learns and does nothing in another way."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from monitor.http.access import Access, Principal
from monitor.http.endpoint import Call, Endpoint


class Ask:
    """The calls of the API, made by somebody who is known."""

    def __init__(self, table: Mapping[tuple[str, str], Endpoint], access: Access, who: Principal) -> None:
        """`table` is that of the API, by method and path."""
        self.who = who
        self._table = table
        self._access = access

    def may(self, method: str, path: str) -> bool:
        """Whether a call would be allowed."""
        endpoint = self._table[method, path]
        return self.who.role.may(endpoint.role) and not (endpoint.changes and self._access.is_open)

    def __call__(
        self,
        method: str,
        path: str,
        at: Mapping[str, str] | None = None,
        query: msgspec.Struct | None = None,
        body: Callable[[], msgspec.Struct] | None = None,
        key: str | None = None,
    ) -> Any:  # noqa: ANN401 - each call has an answer of its own
        """Make a call, with what its path names, and `key` as the one that makes it happen once.

        `body` is asked only for whoever may make the call.

        Raises:
            RefusedError: they may not.
            ProblemError: it cannot be answered; or StoreError, or RegistryError.
        """
        endpoint = self._table[method, path]
        self._access.permit(self.who, endpoint.role, changes=endpoint.changes)
        return endpoint.handle(Call(self.who, dict(at or {}), query or endpoint.query(), body and body(), key))
