"""The words of a notification."""

import math
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting import apprise, email, pagerduty, slack, webhook
from alerting.incident import Attribution, Change, Evidence, Incident, Radius, Served, Status, Transition, Verdict
from alerting.message import MAX_EVIDENCE, MAX_FEATURES, Words, clean
from alerting.message import notice as notice_with
from alerting.notice import Notice
from tests.kit import golden
from tests.kit.incidents import OPENED_AT, announced, incident, opened, resolved, transitions

GOLDEN = Path(__file__).parent / "golden"

LABELER = Attribution(labeler="lab-2", class_from="spam", class_to="ham")
SOURCE = Attribution(source="src-07", features=("duration", "service"), class_to="normal", version="1.2.0")
FEATURES = Attribution(features=("duration", "src_bytes"))
SHARE = Evidence("predictions", "predicted/ham", 14.0, 0.5, 0.2)
CASES = {
    Verdict.LABEL_FLIP: {},
    Verdict.BACKDOOR: {"attribution": SOURCE},
    Verdict.CLEAN_LABEL: {"attribution": Attribution(source="src-07", class_from="spam", class_to="ham")},
    Verdict.LABEL_TAMPERING: {"attribution": LABELER},
    Verdict.SLOW_POISONING: {},
    Verdict.DATA_FAULT: {"attribution": FEATURES},
    Verdict.COVARIATE_DRIFT: {"attribution": FEATURES},
    Verdict.PRIOR_SHIFT: {"evidence": (SHARE,)},
    Verdict.PERFORMANCE: {"attribution": Attribution()},
    Verdict.SILENCE: {"attribution": Attribution(), "evidence": ()},
    Verdict.FORGERY: {
        "model": "events[0]",
        "version": "",
        "attribution": Attribution(source="events[0]"),
        "evidence": (Evidence("intake", "records with a wrong signature", 0.0, 3, 0.0),),
    },
    Verdict.MUTED: {"model": "silence 9c1e42aa", "version": "", "attribution": Attribution(), "evidence": ()},
    Verdict.FLOOD: {
        "model": "tocsin",
        "version": "",
        "attribution": Attribution(),
        "evidence": (Evidence("desk", "problems that wait to be told", 0.0, 37, 20),),
    },
}


def notice(transition: Transition, **words: Any) -> Notice:
    return notice_with(transition, Words(**words))


def lines(content: Notice) -> list[str]:
    who = (f"{label}{value}" for label, value in content.who)
    deeds = (text for _, text in content.deeds)
    return [content.title, content.headline, content.since, content.status, *deeds, *content.evidence, *who]


def test_every_verdict_has_its_own_sentence() -> None:
    headlines = {verdict.value: notice(opened(verdict=verdict, **CASES[verdict])).headline for verdict in Verdict}
    assert len(set(headlines.values())) == len(Verdict)
    golden.check(GOLDEN / "headlines.json", headlines)


@pytest.mark.parametrize("verdict", Verdict)
def test_a_sentence_needs_neither_attribution_nor_evidence(verdict: Verdict) -> None:
    headline = notice(opened(verdict=verdict, attribution=Attribution(), evidence=())).headline
    assert "net-ids 1.2.0" in headline
    assert "None" not in headline
    assert "  " not in headline


def test_the_numbers_are_those_of_what_the_sentence_is_about() -> None:
    # The strongest stream is a feature's, and a flipped label is not about features.
    content = notice(opened())
    assert "(confusion/spam->ham: 0.31 observed, 0.04 allowed)" in content.headline
    assert content.evidence[0].startswith("feature/src_bytes: 2.1 observed, 0.4 allowed")


def test_labels_that_stay_away_have_sentences_of_their_own() -> None:
    missing = Evidence("labels", "labels/missing", 11.0, 0.6, 0.1)
    spam = Attribution(class_to="spam")
    late = notice(opened(verdict=Verdict.DATA_FAULT, attribution=Attribution(), evidence=(SHARE, missing)))
    assert late.headline.startswith("Labels of net-ids 1.2.0 come late, or not at all (labels/missing: 0.6 observed")
    assert "delivers the labels" in late.next
    hidden = notice(opened(verdict=Verdict.LABEL_TAMPERING, attribution=spam, evidence=(missing,)))
    assert hidden.headline.startswith('Labels of what net-ids 1.2.0 calls "spam" stay away')
    assert "keeps these labels back" in hidden.next
    broken = notice(opened(verdict=Verdict.DATA_FAULT, attribution=FEATURES, evidence=(SHARE, missing)))
    assert broken.headline.startswith("Inputs of net-ids 1.2.0 are broken")


def test_who_asks_more_has_not_sent_other_inputs() -> None:
    share = Evidence("sources", "source/src-07/asks/share", 11.0, 0.6, 0.1)
    who = Attribution(source="src-07")
    asked = notice(opened(verdict=Verdict.COVARIATE_DRIFT, attribution=who, evidence=(share,)))
    assert asked.headline.startswith(
        "net-ids 1.2.0 is asked far more from source src-07 than before (source/src-07/asks"
    )
    changed = notice(opened(verdict=Verdict.COVARIATE_DRIFT, attribution=who, evidence=(share, SHARE)))
    assert changed.headline.startswith("Inputs of net-ids 1.2.0 from source src-07 have shifted")


def test_when_and_how_long() -> None:
    content = notice(opened())
    assert content.since == (
        "about 2026-03-02 02:55:00 UTC, between 2026-03-02 02:50:00 UTC and 2026-03-02 02:57:00 UTC"
    )
    assert content.status == "firing, critical, opened 2026-03-02 03:05:00 UTC"
    assert notice(resolved()).status == "resolved 2026-03-02 06:25:00 UTC, after 3 h 20 min"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (61, "1 min 1 s"),
        (7260, "2 h 1 min"),
        (180_000, "2 d 2 h"),
        (math.inf, "an unknown time"),
    ],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    ended = incident(status=Status.RESOLVED, resolved_at=OPENED_AT + seconds)
    assert notice(Transition(Change.RESOLVED, 2, ended)).status.endswith(f"after {text}")


def test_what_is_over_is_said_to_be_over() -> None:
    content = notice(resolved(action="Moved champion of net-ids from 1.2.0 to 1.1.0."))
    assert content.title == "RESOLVED critical: label flip, net-ids 1.2.0"
    assert content.headline.startswith("This has ended. It was: net-ids 1.2.0 takes")
    assert content.action == "Moved champion of net-ids from 1.2.0 to 1.1.0."


def test_long_lists_are_counted() -> None:
    features = tuple(f"f{i}" for i in range(MAX_FEATURES + 3))
    evidence = tuple(Evidence("features", f"feature/f{i}", float(i), 1.0, 0.5) for i in range(MAX_EVIDENCE + 2))
    content = notice(opened(attribution=Attribution(features=features), evidence=evidence))
    assert ("Features", "f0, f1, f2, f3, f4 and 3 more") in content.who
    assert len(content.evidence) == MAX_EVIDENCE + 1
    assert content.evidence[0].startswith("feature/f7:")
    assert content.evidence[-1] == "and 2 more"


def test_evidence_that_is_not_a_number_comes_last() -> None:
    streams = [("a", math.nan), ("b", 1.0), ("c", -math.inf), ("d", math.inf), ("e", math.nan)]
    evidence = tuple(Evidence("features", name, log_e, 1.0, 0.5) for name, log_e in streams)
    assert "".join(line[0] for line in notice(opened(evidence=evidence)).evidence) == "dbace"


def test_an_empty_class_is_a_class() -> None:
    content = notice(opened(attribution=Attribution(class_from="", class_to="ham")))
    assert 'takes "(blank)" for "ham"' in content.headline


def at(seconds: float) -> Words:
    """Words that are said so many seconds after the incident has opened."""
    return Words(clock=lambda: OPENED_AT + seconds)


@pytest.mark.parametrize(
    ("seconds", "veto", "left"),
    [
        (120, True, "10 min 0 s to veto it, until 2026-03-02 03:17:00 UTC: tocsin rollback deny 0f3c9a1b2d4e"),
        (705, True, "15 s to veto it, until 2026-03-02 03:17:00 UTC: tocsin rollback deny 0f3c9a1b2d4e"),
        (720, True, "none: it was to veto until 2026-03-02 03:17:00 UTC"),
        (120, False, "10 min 0 s to approve it, until 2026-03-02 03:17:00 UTC: tocsin rollback approve 0f3c9a1b2d4e"),
        (9e9, False, "none: it was to approve until 2026-03-02 03:17:00 UTC"),
    ],
)
def test_what_is_planned_says_how_long_it_can_be_answered(seconds: float, left: str, *, veto: bool) -> None:
    assert notice_with(announced(veto=veto), at(seconds)).left == left


def test_what_is_not_planned_or_over_has_no_time_left() -> None:
    assert notice_with(opened(), at(0)).left == ""
    plan = announced().incident.plan
    assert notice_with(resolved(plan=plan), at(0)).left == ""


@pytest.mark.parametrize(
    "says",
    [
        lambda step, words: str(slack.payload(step, words)["blocks"]),
        lambda step, words: apprise.payload(step, words)["body"],
        lambda step, words: email.mail(step, words, sender="a@x.example", to=("b@x.example",), now=0.0).get_content(),
        lambda step, words: str(pagerduty.event(step, notice_with(step, words), routing_key="0" * 32)),
        lambda step, words: str(webhook.payload(step, words, receiver="hook")["commonAnnotations"]),  # Alertmanager's
    ],
)
def test_every_kind_of_message_has_the_time_left(says: Callable[[Transition, Words], str]) -> None:
    left = "9 min 45 s to veto it, until 2026-03-02 03:17:00 UTC: tocsin rollback deny 0f3c9a1b2d4e"
    assert left in says(announced(), at(135))
    assert "veto it" not in says(opened(), at(135))


@given(transitions())
def test_every_text_is_one_bounded_line_without_control_characters(transition: Transition) -> None:
    for line in lines(notice(transition)):
        assert 0 < len(line) <= 1200
        assert not {unicodedata.category(c) for c in line} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text(), st.integers(2, 50))
def test_clean_text_is_short_enough_and_clean_text_stays_as_it_is(text: str, limit: int) -> None:
    once = clean(text, limit)
    assert len(once) <= max(limit, len("(blank)"))
    assert clean(once, max(limit, len("(blank)"))) == once


def test_clean_keeps_what_people_write() -> None:
    assert clean("größe 大きさ señal_2 {a} <b>", 60) == "größe 大きさ señal_2 {a} <b>"
    assert clean("a\r\n\tb\u202ec\x00d\u2028e", 60) == "a bcd e"
    assert clean("x" * 10, 5) == "xxxx…"


def test_clean_looks_at_a_bounded_part_of_a_text() -> None:
    assert clean("\u200b" * 20 + "x", 5) == "(blank)"


@pytest.mark.parametrize("change", Change)
def test_every_change_has_its_word(change: Change) -> None:
    title = notice(Transition(change, 2, incident())).title
    assert title.split(" critical: ")[0].isupper()
    assert title.endswith("critical: label flip, net-ids 1.2.0")


def test_whoever_acknowledged_is_named() -> None:
    acked = incident(status=Status.ACKNOWLEDGED, acknowledged_by="ada\u202e")
    assert notice(Transition(Change.ACKNOWLEDGED, 2, acked)).status.startswith("acknowledged by ada, critical, opened ")


def test_what_people_should_weigh_is_told() -> None:
    changed = incident(was=Verdict.PERFORMANCE, against=("one", "two", "three", "four"))
    said = dict(notice(Transition(Change.UPDATED, 2, changed)).weighed)
    assert said == {
        "Changed": "it was performance; since then labels contradict the model, whoever asks, in one direction, since "
        "version 1.2.0",
        "Against it": "one; two; three",
        "Reach": "since 2026-03-02 02:50:00 UTC about 1,240 predictions were served by 1.2.0",
    }
    assert notice(opened(was=None, against=(), radius=None)).weighed == ()
    assert notice(opened(confidence=0.473)).sure.startswith("47% for label flip; about 10^6.5 to 1 against chance")
    assert notice(opened(confidence=None)).sure.startswith("about 10^6.5 to 1")


@pytest.mark.parametrize(
    ("verdict", "who", "counts", "told"),
    [
        (Verdict.LABEL_TAMPERING, LABELER, {"labels": 12_345}, "about 12,300 labels came from lab-2"),
        (Verdict.LABEL_TAMPERING, SOURCE, {"labels": 7, "inputs": 9}, "about 7 labels came for src-07"),
        (Verdict.BACKDOOR, SOURCE, {"labels": 7, "inputs": 9}, "about 9 inputs came from src-07"),
    ],
)
def test_what_came_from_whom_is_named_is_counted(
    verdict: Verdict, who: Attribution, counts: dict[str, int], told: str
) -> None:
    radius = msgspec.structs.replace(incident().radius, **counts)
    said = dict(notice(opened(verdict=verdict, attribution=who, radius=radius)).weighed)["Reach"]
    assert said.endswith(f"about 1,240 predictions were served by 1.2.0, and {told}")


def test_how_far_it_reaches_is_told_line_by_line_and_long_lists_are_counted() -> None:
    radius = Radius(("a",), ("spam", "ham"), tuple("abcdefg"), OPENED_AT, OPENED_AT, 1, 4000, (Served("2", 5),))
    assert notice(opened(radius=radius)).reach[1:] == (
        "Events: number 1 to 4,000, until 2026-03-02 03:05:00 UTC",
        "Versions: 2 (about 5)",
        "Sources: a",
        "Classes: spam, ham",
        "Features: a, b, c, d, e and 2 more",
    )


def test_an_incident_that_an_earlier_version_of_tocsin_stored_is_still_read_and_told() -> None:
    new = {"confidence", "against", "because", "was", "radius"}
    kept = {name: value for name, value in msgspec.to_builtins(incident()).items() if name not in new}
    old = msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=Incident)
    assert (old.confidence, old.against, old.because, old.was, old.radius) == (None, (), "", None, None)
    assert notice(Transition(Change.UPDATED, 2, old)).weighed == ()
