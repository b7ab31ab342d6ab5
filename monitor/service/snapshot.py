"""Snapshots: the pipeline's memory as named blobs for the store, and back.

A watch is written whole whenever it changed; it has the size of its streams. A baseline learnt from the stream is
written once. The join, and the events of a reference still being learnt, grow; so each commit writes only what was
added, as one more numbered segment. When most of what the segments of the join hold is over, one takes their place.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from alerting.desk import Desk
from monitor.detection.answers import STATE as ANSWERS
from monitor.detection.answers import Answers
from monitor.detection.baseline import canonical, decode
from monitor.detection.pipeline import Pipeline

BOARD, DESK = "board/", "desk/"
PIPELINE, WATCH, BASELINE, LESSON, JOIN = "pipeline", "watch/", "baseline/", "lesson/", "join/"


class PipelineState(msgspec.Struct, array_like=True):
    """What the pipeline itself remembers."""

    read: int


class Remembering(Protocol):
    """A part that is stored as a few small blobs by name."""

    def dump(self) -> dict[str, bytes]:
        """All of it."""

    def restore(self, blobs: Iterable[bytes]) -> None:
        """Take up what `dump` gave."""


class Changes(NamedTuple):
    """States to write and names of states to forget."""

    states: dict[str, bytes]
    forget: list[str]

    @property
    def more(self) -> bool:
        """Whether there is more than the count of records, which is always written."""
        return bool(self.forget) or self.states.keys() != {PIPELINE}


class Snapshots:
    """Takes what changed since the last time. One loop owns it."""

    def __init__(self, pipeline: Pipeline, desk: Desk | None = None) -> None:
        self._pipeline = pipeline
        self._remembering: dict[str, Remembering] = {BOARD: pipeline.incidents}
        if desk is not None:
            self._remembering[DESK] = desk
        self._segments: list[str] = []
        """The join's stored segments."""
        self._lessons: dict[str, list[str]] = {}
        """Stored segments of references that are still being learnt, by model."""
        self._number = 0
        self._frozen: dict[str, str] = {}
        """Digests of the stored baselines, by model."""
        self._remembered: dict[str, bytes] = {}
        """What the board and the desk remembered last, by name."""

    def take(self) -> Changes:
        """What changed since the last call."""
        pipeline = self._pipeline
        changes = Changes({PIPELINE: msgspec.msgpack.encode(PipelineState(pipeline.read))}, [])
        for model in sorted(pipeline.changed):
            watch = pipeline.watches[model]
            changes.states[WATCH + model] = watch.dump()
            changes.states[ANSWERS + model] = watch.answers.dump()
            self._take_lesson(model, changes)
            self._take_baseline(model, changes)
        pipeline.changed.clear()
        before, self._remembered = self._remembered, self._recall()
        changes.states.update({name: blob for name, blob in self._remembered.items() if before.get(name) != blob})
        changes.forget.extend(sorted(before.keys() - self._remembered.keys()))
        self._take_join(changes)
        return changes

    def restore(self, states: Mapping[str, bytes]) -> list[str]:
        """Put stored states back; return what could not be used, one line each."""
        pipeline, notes = self._pipeline, []
        if PIPELINE in states:
            pipeline.read = msgspec.msgpack.decode(states[PIPELINE], type=PipelineState).read
        for prefix, part in self._remembering.items():
            part.restore(blob for name, blob in sorted(states.items()) if name.startswith(prefix))
        self._remembered = self._recall()
        for name in sorted(name for name in states if name.startswith(LESSON)):
            self._lessons.setdefault(name.removeprefix(LESSON).partition("/")[2], []).append(name)
        for name in sorted(name for name in states if name.startswith(WATCH)):
            model = name.removeprefix(WATCH)
            watch = pipeline.watch(model)
            if watch is None:
                notes.append(f"model {model} is no longer watched; its stored state is left alone")
                continue
            watch.answers = Answers(states.get(ANSWERS + model))
            baseline = states.get(BASELINE + model)
            lessons = [states[lesson] for lesson in self._lessons.get(model, [])]
            if not watch.restore(states[name], None if baseline is None else decode(baseline), lessons):
                notes.append(f"model {model} has another baseline now; its detectors start afresh")
            elif watch.bank is not None and baseline is not None:
                self._frozen[model] = watch.bank.digest
        for name in sorted(name for name in states if name.startswith(JOIN)):
            pipeline.join.restore(states[name])
            self._segments.append(name)
            self._number = int(name.removeprefix(JOIN))
        pipeline.join.unmatched.clear()
        return notes

    def _recall(self) -> dict[str, bytes]:
        return {prefix + name: blob for prefix, part in self._remembering.items() for name, blob in part.dump().items()}

    def _take_join(self, changes: Changes) -> None:
        join = self._pipeline.join
        if join.sparse:
            changes.forget.extend(self._segments)
            self._segments.clear()
            added: bytes | None = join.take_whole()
        else:
            added = join.take_changes()
        if added is not None:
            self._number += 1
            self._segments.append(f"{JOIN}{self._number:012d}")
            changes.states[self._segments[-1]] = added

    def _take_lesson(self, model: str, changes: Changes) -> None:
        watch = self._pipeline.watches[model]
        stored = self._lessons.setdefault(model, [])
        if watch.bank is not None:
            changes.forget.extend(stored)
            del self._lessons[model]
            return
        lesson = watch.take_lesson()
        if lesson is not None:
            stored.append(f"{LESSON}{len(stored):012d}/{model}")
            changes.states[stored[-1]] = lesson

    def _take_baseline(self, model: str, changes: Changes) -> None:
        bank = self._pipeline.watches[model].bank
        if bank is not None and self._frozen.get(model) != bank.digest:
            changes.states[BASELINE + model] = canonical(bank.baseline)
            self._frozen[model] = bank.digest
