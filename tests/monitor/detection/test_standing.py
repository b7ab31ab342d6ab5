"""Standing: whom the evidence points at, before and after it alarms."""

from detectors.edetector import QUIET
from monitor.detection.standing import LOUDEST, loudest
from tests.kit.served import World, backdoor, bad_labeler, label_flip, make_pipeline, records


def standing(world: World, budget: float = 5_000.0) -> dict[tuple[str, str], float]:
    pipeline = make_pipeline(budget=budget)
    pipeline.process(records(world.events()))
    bank = pipeline.watches["mail"].bank
    assert bank is not None
    return dict(loudest(bank))


def first(found: dict[tuple[str, str], float], kind: str) -> str:
    return max((level, name) for (its_kind, name), level in found.items() if its_kind == kind)[1]


def test_the_one_who_does_it_is_the_loudest_of_their_kind() -> None:
    assert first(standing(World(cause=bad_labeler)), "labeler") == "lab-2"
    assert first(standing(World(cause=backdoor)), "source") == "src-3"
    assert first(standing(World(cause=backdoor)), "feature") == "size"
    assert first(standing(World(cause=label_flip)), "class") == "spam"


def test_evidence_shows_before_it_alarms() -> None:
    found = standing(World(cause=bad_labeler, predictions=2100), budget=100_000.0)
    assert first(found, "labeler") == "lab-2"
    assert max(found.values()) < 100_000.0


def test_a_quiet_model_shows_next_to_nothing() -> None:
    found = standing(World(), budget=1e7)
    assert len(found) <= 2
    assert all(level >= QUIET * 1e7 for level in found.values())


def test_never_more_than_the_loudest_of_each_kind() -> None:
    world = World(cause=lambda row, rng: row.update(source=f"s{rng.integers(60)}", prediction="ham"))
    found = standing(world, budget=200.0)
    kinds = [kind for kind, _ in found]
    assert max(map(kinds.count, kinds)) == LOUDEST
