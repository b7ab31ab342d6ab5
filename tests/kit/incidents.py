"""Incidents for tests: one that reads like a real one, and any number that an attacker might wish for."""

from typing import Any

import msgspec
from hypothesis import strategies as st

from alerting.incident import (
    Attribution,
    Change,
    Evidence,
    Incident,
    Onset,
    Plan,
    Radius,
    Served,
    Severity,
    Status,
    Transition,
    Verdict,
)

OPENED_AT = 1_772_420_700.0
"""2026-03-02 03:05:00 UTC."""


def incident(**changes: Any) -> Incident:
    """A label flip with everything filled in; `changes` replaces fields."""
    plain = Incident(
        id="0f3c9a1b2d4e",
        model="net-ids",
        version="1.2.0",
        verdict=Verdict.LABEL_FLIP,
        severity=Severity.CRITICAL,
        status=Status.FIRING,
        opened_at=OPENED_AT,
        updated_at=OPENED_AT + 60.0,
        event_index=5312,
        onset=Onset(ts=OPENED_AT - 600.0, low=OPENED_AT - 900.0, high=OPENED_AT - 480.0),
        attribution=Attribution(class_from="spam", class_to="ham", version="1.2.0"),
        evidence=(
            Evidence("features", "feature/src_bytes", 14.9, 2.1, 0.4),
            Evidence("performance", "confusion/spam->ham", 14.2, 0.31, 0.04),
        ),
        confidence=0.81,
        against=("labels alone say so: the answers have hardly changed",),
        because="labels contradict the model, whoever asks, in one direction, since version 1.2.0",
        radius=Radius(
            classes=("spam", "ham"),
            since=OPENED_AT - 900.0,
            until=OPENED_AT,
            first_index=4992,
            last_index=5312,
            versions=(Served("1.2.0", 1243), Served("1.1.0", 31)),
        ),
    )
    return msgspec.structs.replace(plain, **changes)


def opened(number: int = 1, **changes: Any) -> Transition:
    """The transition that opens `incident(**changes)`."""
    return Transition(Change.OPENED, number, incident(**changes))


def resolved(number: int = 3, **changes: Any) -> Transition:
    """The transition that ends it, 3 h 20 min later."""
    end = OPENED_AT + 12_000.0
    ended = incident(status=Status.RESOLVED, resolved_at=end, updated_at=end, **changes)
    return Transition(Change.RESOLVED, number, ended)


def announced(number: int = 2, *, veto: bool = True, lasts: float = 600.0, **changes: Any) -> Transition:
    """The transition in which Tocsin says what it will do, or would, two minutes after the incident has opened."""
    until = OPENED_AT + 120.0 + lasts
    action = (
        "Will roll the alias champion of net-ids back from 1.2.0 to 1.1.0 at 2026-03-02 03:17:00 UTC, "
        "unless somebody denies it."
        if veto
        else "Proposes to roll the alias champion of net-ids back from 1.2.0 to 1.1.0."
    )
    planned = incident(action=action, plan=Plan("0f3c9a1b2d4e", veto=veto, until=until), **changes)
    return Transition(Change.ACTED, number, planned)


_TRICKS = st.sampled_from(
    [
        *(
            "<!channel>",
            "<!here|x>",
            "<@U012AB3CD>",
            "<#C012AB3CD>",
            "<!subteam^S01>",
            "@channel",
            "@HERE",
            "@everyone",
        ),
        *(
            "@\u200bchannel",
            "<http://evil.example|click>",
            "&lt;!channel&gt;",
            "&",
            "<",
            ">",
            "*b*",
            "`c`",
            "~s~",
            "_i_",
        ),
        *("\u202egnp.exe", "a\r\nb", "\x00\x07\x1b[31m", "\u2028\u2029", "{what}", "{0.__class__}", "%s%n", ""),
        *('"' * 300, "\\" * 300, "&" * 400, "<" * 3000, "x" * 9000, "😀" * 500, "é" * 300, "\u200b" * 400),
        *("confusion/spam->ham", "ünïcödé", "\ufeff", "👩‍👩‍👧‍👦"),
    ]
)
# No halves of surrogate pairs: no JSON holds them, so no event and no outbox does.
hostile = _TRICKS | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_numbers = st.floats() | st.floats(0.0, 1.0)
_times = st.floats(1.6e9, 1.9e9) | st.floats()


def radii(text: st.SearchStrategy[str]) -> st.SearchStrategy[Radius]:
    """Radii in which every name is `text`."""
    names, count = st.lists(text, max_size=8).map(tuple), st.integers(0, 2**62)
    served = st.lists(st.builds(Served, text, count), max_size=9).map(tuple)
    maybe = st.none() | count
    return st.builds(Radius, names, names, names, _times, _times, count, count, served, maybe, maybe)


def transitions(text: st.SearchStrategy[str] = hostile) -> st.SearchStrategy[Transition]:
    """Transitions in which every string that comes from events is `text`, and every number is any float."""
    maybe = st.none() | text
    attribution = st.builds(Attribution, maybe, maybe, st.lists(text, max_size=8).map(tuple), maybe, maybe, maybe)
    evidence = st.lists(st.builds(Evidence, text, text, _numbers, _numbers, _numbers), max_size=9).map(tuple)
    incidents = st.builds(
        Incident,
        id=st.text("0123456789abcdef", min_size=1, max_size=64),
        model=text,
        version=text,
        verdict=st.sampled_from(Verdict),
        severity=st.sampled_from(Severity),
        status=st.sampled_from(Status),
        opened_at=_times,
        updated_at=_times,
        event_index=st.integers(0, 2**62),
        onset=st.builds(Onset, _times, _times, _times),
        attribution=attribution,
        evidence=evidence,
        action=maybe,
        resolved_at=st.none() | _times,
        plan=st.none() | st.builds(Plan, text, st.booleans(), _times),
        confidence=st.none() | _numbers,
        against=st.lists(text, max_size=5).map(tuple),
        because=text,
        was=st.none() | st.sampled_from(Verdict),
        radius=st.none() | radii(text),
    )
    return st.builds(Transition, st.sampled_from(Change), st.integers(1, 10**6), incidents)
