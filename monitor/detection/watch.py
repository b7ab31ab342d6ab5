"""A watch: one model, from the learning of its baseline to judgements about its events."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter

import msgspec

from alerting.incident import Incident, Judgement, Radius
from detectors.bets import Caution
from detectors.engine import ARRAYS, Engine
from monitor.detection.answers import Answers
from monitor.detection.asked import Asked
from monitor.detection.bank import Bank, Moment, Place
from monitor.detection.baseline import Baseline
from monitor.detection.companions import Companions
from monitor.detection.doubts import Doubt, Doubts
from monitor.detection.findings import Finding, again, find
from monitor.detection.lately import Lately
from monitor.detection.ledger import Ledger, Page
from monitor.detection.lessons import Lessons, Until
from monitor.detection.listing import NONE, Limits, Listing, ListingState
from monitor.detection.reach import reach, sheet
from monitor.detection.verdict import judge
from monitor.detection.versions import FirstSeen, Versions
from monitor.intake.events import Features, Prediction
from monitor.intake.join import Joined

TOGETHER = 100
"""Events that are counted together: as many as have room in a processor's cache, with all their features."""
Told = Prediction | Features | Joined
"""What a watch takes in; a label has found its prediction."""


@dataclass(slots=True)
class Rows:
    """Events of one model since the last update, in order; its features wait in the bank's columns."""

    newest: list[float] = field(default_factory=list)
    """For each of all these events, the largest event time by then, epoch seconds."""
    labels: list[tuple[int, Joined]] = field(default_factory=list)
    """With their index among the model's events."""
    asked: Asked = field(default_factory=Asked)

    def __len__(self) -> int:
        return len(self.newest)


class WatchState(msgspec.Struct, array_like=True):
    """A watch's memory, for the store; the bank's own is nested."""

    events: int
    invalid: int
    versions: tuple[FirstSeen, ...]
    bank: bytes | None
    episode: list[Finding]
    newest: float = float("-inf")
    doubts: list[Doubt] = []
    listing: ListingState = ListingState()
    pages: tuple[Page, ...] = ()


class Watch:
    """Watches one model. Deterministic: its state depends on the model's events and their order only."""

    def __init__(
        self,
        model: str,
        *,
        budget: float,
        baseline: Baseline | None,
        until: Until,
        caution: Caution,
        companions: Companions,
        engine: Engine = ARRAYS,
        limits: Limits = NONE,
    ) -> None:
        """Watch against `baseline`, or learn one from the stream first.

        Args:
            model: its name.
            budget: events per false alarm.
            baseline: what is normal; None to learn it.
            until: where the reference ends if it is learnt.
            caution: how far bounds stay away from estimates.
            companions: detectors beside the engine.
            engine: how numbers are made of events.
            limits: which single events that are unlike the reference are listed.
        """
        self.model = model
        self.events = 0
        self.newest = float("-inf")
        """Largest event time so far, epoch seconds: the model's clock, which never goes back."""
        self.companions = companions
        self.doubts = Doubts()
        """Events that may be part of an attack."""
        self.listing = Listing(limits)
        self.answers = Answers()
        """What each version has answered, from the first event on."""
        self.ledger = Ledger()
        """How many events of whom had come by when, after the baseline."""
        self.invalid = 0
        """Feature values so far that were missing or of the wrong type."""
        self.bank = None if baseline is None else Bank(baseline, budget, caution, engine)
        self._budget = budget
        self._caution = caution
        self._engine = engine
        self._lessons = Lessons(until)
        self._told: list[Told] = []
        self._times: list[float] = []
        """What was taken in and is not counted yet, and when it happened."""
        self._rows = self._worked = Rows()
        self._versions = Versions(() if baseline is None else baseline.versions)
        self._episode: dict[Place, Finding] = {}
        """What has alarmed since the last quiet, as it was found last."""
        self._lately: Lately | None = None

    @property
    def alarming(self) -> bool:
        """Whether any stream alarms now."""
        return self.bank is not None and bool(self.bank.alarming())

    @property
    def learnt(self) -> int:
        """Events taken so far for a baseline that is still being learnt; 0 once there is one."""
        return len(self._lessons)

    def version_at(self, index: int) -> str:
        """The version that had appeared last when event `index` was read."""
        return self._versions.at(index)

    def reach(self, incident: Incident) -> Radius | None:
        """How far an incident reaches by now; None while the baseline is being learnt. Any thread may ask."""
        return None if self.bank is None else reach(incident, self.ledger, self.bank.columns)

    def take(self, event: Told, ts: float) -> None:
        """Take in an event at epoch seconds `ts`; it is counted together with those after it, at `update` at last."""
        self._told.append(event)
        self._times.append(ts)
        if len(self._told) >= TOGETHER:
            self._count()

    def take_all(self, events: Iterable[Told], times: Iterable[float]) -> None:
        """Take in events in their order, with the epoch seconds of each."""
        self._told += events
        self._times += times
        if len(self._told) >= TOGETHER:
            self._count()

    def _count(self) -> None:
        """Count what was taken in, and keep of it what `update` asks for: events are large."""
        events: Sequence[Told] = self._told
        times: Sequence[float] = self._times
        self._told, self._times = [], []
        self.answers.take_all(events, times)
        if self.bank is None:
            learnt = self._learn(events, times)
            events, times = events[learnt:], times[learnt:]
        if self.bank is None or not events:
            return
        first = self.events
        _, *newest = accumulate(times, max, initial=self.newest)
        self.events, self.newest = first + len(events), newest[-1]
        self._rows.newest += newest
        index: Sequence[int] = range(first, self.events)
        if Joined in map(type, events):
            self._count_labels(
                [(i, event) for i, event in zip(index, events, strict=True) if isinstance(event, Joined)]
            )
            places = [place for place, event in enumerate(events) if not isinstance(event, Joined)]
            index, times = [index[place] for place in places], [times[place] for place in places]
        self._count_served(index, times, [event for event in events if not isinstance(event, Joined)])

    def _count_served(
        self, index: Sequence[int], times: Sequence[float], events: Sequence[Prediction | Features]
    ) -> None:
        asked = self._rows.asked
        before = len(asked.index)
        asked.add(index, times, events)
        self._versions.look(asked.versions[before:], asked.index[before:], asked.ts[before:])
        if self.bank is not None:
            self.bank.columns.take(index, times, events)
        self.companions.take(events)

    def _count_labels(self, labels: Sequence[tuple[int, Joined]]) -> None:
        self._rows.labels += labels
        for _, joined in labels:
            self.companions.take_label(joined)
            if self.bank is not None and not self.bank.baseline.regression:
                self.doubts.add_label(joined)

    def update(self) -> Iterator[tuple[Moment, Judgement | None]]:
        """Work through what was taken in; yield a judgement wherever a stream began to alarm, None where all is over.

        Judged is everything that alarmed since the last quiet, also what has recovered: what is left of the evidence of
        a problem that is going away would tell another story.
        """
        if self._told:
            self._count()
        rows, self._rows = self._rows, Rows()
        self._worked = rows
        if self.bank is None or not rows:
            return
        self.bank.dues.take(rows.asked, rows.labels)
        features, labels = self.bank.columns.encode(), self.bank.columns.labels(rows.labels)
        self.invalid += features.invalid
        self.lately.take(features, labels)
        self.ledger.offer(sheet(features, labels, rows.asked, rows.newest, self.events))
        for moment in self.bank.update(features, labels, self.bank.dues.decided()):
            self.lately.point(moment.ts, self.bank.highest, now=True)
            self.ledger.settle(moment.index)
            if not self.alarming:
                self._episode = {}
                yield moment, None
            elif moment.changed:
                for finding in find(self.bank, moment.changed):
                    self._episode[finding.place] = again(self._episode.get(finding.place), finding, self.bank.budget)
                episode = sorted(self._episode.values(), key=attrgetter("alarmed_index", "place"))
                yield moment, judge(episode, self._versions.since_baseline(moment.index))
        self.ledger.settle(self.events - 1)
        self.lately.point(self.newest, self.bank.highest)
        self.doubts.add_answers(self.bank.suspects.take_settled(), rows.asked)
        self.listing.look(self.bank.baseline, self.bank.columns, features, rows.asked, self.newest_at)

    @property
    def lately(self) -> Lately:
        """What the model has been doing since the process began, for pictures."""
        if self._lately is None:
            known = self.bank is not None and not self.bank.baseline.regression
            self._lately = Lately(len(self.bank.baseline.classes) if self.bank is not None and known else 0)
        return self._lately

    @property
    def episode(self) -> list[Finding]:
        """What has alarmed since the last quiet, the strongest evidence first."""
        return sorted(self._episode.values(), key=lambda finding: (-finding.log_e, finding.place))

    def newest_at(self, index: int) -> float:
        """The model's clock at an event of the last `update`."""
        return self._worked.newest[index - self.events]  # the last of them is event `events - 1`

    def dump(self) -> bytes:
        """The state, for the store."""
        bank = None if self.bank is None else self.bank.dump()
        return msgspec.msgpack.encode(
            WatchState(
                self.events,
                self.invalid,
                self._versions.seen,
                bank,
                list(self._episode.values()),
                self.newest,
                self.doubts.dump(),
                self.listing.dump(),
                self.ledger.pages,
            )
        )

    def take_lesson(self) -> bytes | None:
        """While learning: the reference events since the last call, for the store; None if there are none."""
        return self._lessons.take_new()

    def restore(self, blob: bytes, learnt: Baseline | None, lessons: list[bytes]) -> bool:
        """Take up a stored state; False if it was made against another baseline than the one configured now.

        Args:
            blob: what `dump` gave.
            learnt: the baseline that was learnt from the stream, if one was.
            lessons: what `take_lesson` gave, in order.
        """
        state = msgspec.msgpack.decode(blob, type=WatchState)
        self.events = state.events  # in any case: ids of incidents are made from it, and must not come twice
        if self.bank is None and learnt is not None:
            self._begin(learnt)
        if self.bank is not None and state.bank is not None and not self.bank.restore(state.bank):
            return False
        self.invalid, self.newest, self.ledger = state.invalid, state.newest, Ledger(state.pages)
        self._versions.restore(state.versions)
        self._episode = {finding.place: finding for finding in state.episode}
        self.doubts.restore(state.doubts)
        self.listing.restore(state.listing)
        if self.bank is None:
            self._lessons.restore(lessons)
        return True

    def _begin(self, learnt: Baseline) -> None:
        """Watch against a baseline that was learnt from the stream."""
        self.bank = Bank(learnt, self._budget, self._caution, self._engine)
        self._versions = Versions(learnt.versions)
        self._lessons = Lessons(Until())

    def _learn(self, events: Sequence[Told], times: Sequence[float]) -> int:
        """Take in events until the reference ends; return how many."""
        for place, (event, ts) in enumerate(zip(events, times, strict=True)):
            if self._lessons.complete(ts):
                self._begin(self._lessons.learn(self.model))
                return place
            self.events, self.newest = self.events + 1, max(self.newest, ts)
            self._lessons.take(event)
        return len(events)
