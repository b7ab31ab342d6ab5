"""An incident out of the real pipeline, with what stands behind it."""

from alerting.incident import Change, Incident
from monitor.detection.lessons import Until
from monitor.http.evidence import gather
from monitor.pictures.exhibit import Exhibit
from tests.kit.served import Cause, World, make_pipeline, records

BATCH = 50


def exhibited(cause: Cause, seed: int = 4) -> tuple[Incident, Exhibit]:
    """The last step before the end of what `cause` gives, and its exhibit."""
    world = World(seed=seed, predictions=3000, onset=2000, cause=cause)
    pipeline = make_pipeline(until=Until(events=2800))
    stream = records(world.events())
    found: tuple[Incident, Exhibit] | None = None
    for low in range(0, len(stream), BATCH):
        for step in pipeline.process(stream[low : low + BATCH]):
            exhibit = gather(pipeline.watches[world.model])
            if step.change is not Change.RESOLVED and exhibit is not None:
                found = step.incident, exhibit
    assert found is not None
    return found
