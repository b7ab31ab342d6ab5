"""Answers that are kept for whoever asks again, in either database."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from monitor.store.reply_table import KEPT, Reply, ReplyTable
from monitor.store.store import Store


@pytest.fixture
def replies(location: str | Path) -> Iterator[ReplyTable]:
    with closing(Store(location)) as store:
        yield store.replies


def test_a_key_is_taken_once_by_each_and_for_a_day(replies: ReplyTable) -> None:
    assert replies.begin("ada", "k", "r1", 0.0) is None
    assert replies.begin("ada", "k", "r2", 1.0) == Reply("r1")
    assert replies.begin("bob", "k", "r2", 1.0) is None
    replies.end("ada", "k", Reply("r1", 200, b"{}"))
    assert replies.begin("ada", "k", "r1", KEPT) == Reply("r1", 200, b"{}")
    assert replies.begin("ada", "k", "r1", KEPT + 1.0) is None


def test_a_key_that_was_given_back_can_be_taken(replies: ReplyTable) -> None:
    assert replies.begin("ada", "k", "r1", 0.0) is None
    replies.end("ada", "k", None)
    assert replies.begin("ada", "k", "r1", 1.0) is None


def test_of_many_at_once_one_gets_it(replies: ReplyTable) -> None:
    got: list[Reply | None] = []
    threads = [threading.Thread(target=lambda: got.append(replies.begin("ada", "k", "r1", 0.0))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got, key=repr) == [None, *[Reply("r1")] * 5]
