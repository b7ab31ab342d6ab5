"""The demo as people see it: a sound model, an attack on its labels, and what Tocsin does about it."""

import contextlib
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from monitor.demo import dataset
from monitor.demo.daemon import BUDGET
from monitor.demo.dataset import Trained
from monitor.demo.narrator import Narrator
from monitor.demo.parts import PartError
from monitor.demo.stage import MODEL, REFERENCE, TOPIC, Stage, set_up
from monitor.demo.summary import Change, alarm, clock, end, table
from monitor.demo.traffic import LABEL_NOISE, RECENT
from monitor.rollback.config import Mode

QUIET = 1000
"""Predictions that are watched after the baseline is complete and before the attack: nothing may happen."""

PATIENCE = 1800.0
"""Seconds that a person has to answer a proposal."""


def play(console: Console, folder: Path, *, keep: bool, propose: bool = False) -> None:
    """Play all acts.

    Args:
        console: Where people read it.
        folder: For logs, configuration and state.
        keep: Leave everything running at the end, until Ctrl-C.
        propose: Let a person approve the rollback in the console.

    Raises:
        PartError: A part failed, or something did not happen in time.
        httpx.HTTPError: A part does not answer.
        KeyboardInterrupt: Somebody has seen enough.
    """
    began = time.monotonic()
    with console.status("starting; MLflow takes the longest") as status:
        narrator = Narrator(console, status)
        narrator.act(
            "The parts start",
            "A Kafka broker, an MLflow registry, a model server and a pager, all on this machine.",
        )
        with set_up(folder, narrator.show, Mode.PROPOSE if propose else Mode.AUTO) as stage:
            narrator.say(f"All are up after {time.monotonic() - began:.0f} s. Configuration and logs: {folder}")
            sound = serve_sound_model(narrator, stage)
            learn_what_is_normal(narrator, stage)
            change = poison(narrator, stage, sound)
            raise_alarm(narrator, stage, change)
            if propose:
                ask_a_person(narrator, stage, change)
            alias_back_at = roll_back(narrator, stage, change)
            all_clear(narrator, stage, change)
            status.update("reading everything back")
            narrator.act("What happened, read back from the parts")
            console.print(table(stage, change, alias_back_at))
            narrator.say(f"The demo took {time.monotonic() - began:.0f} s.")
            if keep:
                look_around(narrator, stage)
            status.update("ending everything")
    console.print("Nothing is left running.")


def serve_sound_model(narrator: Narrator, stage: Stage) -> Trained:
    """Train and register version 1, mark it known-good, and wait until it is served."""
    data = stage.data
    narrator.act(
        "A sound model goes into service",
        f"{len(data.training)} tumours to train on, {len(data.service)} others that clinics will ask about.",
    )
    stage.registry.create()
    sound = dataset.train(data.training, data.training_labels)
    number = register(stage, sound)
    # The mark that a rollback needs comes from the ML team and never from Tocsin: its word would prove nothing.
    stage.registry.mark_known_good(number, datetime.now(UTC))
    narrator.say(
        f"Version {number}: accuracy {sound.check:.1%} on its held-out labels;"
        f" it finds {dataset.recall(sound.model, data.service, data.service_labels):.0%} of the malignant tumours."
        " The ML team's CI marks it known-good."
    )
    stage.registry.promote(number)
    stage.start_tocsin()
    narrator.wait(stage, f"version {number} to be served", lambda: stage.served() == number)
    narrator.wait(stage, "Tocsin", stage.daemon.ready)
    narrator.say(f"Version {number} is served, and Tocsin listens to what the server tells Kafka.")
    return sound


def register(stage: Stage, trained: Trained) -> str:
    """Upload a model with its digest; return the number that MLflow gives the version."""
    return stage.registry.register(dataset.dump(trained.model), "model.skops", {"accuracy": trained.check})


def learn_what_is_normal(narrator: Narrator, stage: Stage) -> None:
    """Let the traffic flow until the baseline is complete, and see that Tocsin then keeps quiet."""
    narrator.act(
        "Tocsin learns what is normal",
        "Six clinics ask for predictions; a little later four laboratories report the truth, "
        f"{LABEL_NOISE:.0%} of it wrong.",
        f"The first {REFERENCE} events are known to be clean and make the baseline, which then stays frozen.",
    )
    stage.traffic.start()
    baseline = partial(stage.daemon.metric, "tocsin_baseline_events", model=MODEL)
    narrator.wait(stage, "the baseline", lambda: baseline() > 0, timeout=120.0)
    asked = len(stage.traffic.outcomes)
    narrator.say(
        f"The baseline is there after {asked} predictions. Now every event is tested against it; the one setting is"
        f" the budget: on average at most one false incident in {BUDGET:,} events."
    )
    narrator.wait(stage, "some quiet traffic", lambda: len(stage.traffic.outcomes) >= asked + QUIET)
    if stage.receiver.messages:
        raise PartError("Tocsin sent a message before anything had happened: a false alarm")
    narrator.say(f"{QUIET} predictions later: no message.")


def poison(narrator: Narrator, stage: Stage, sound: Trained) -> Change:
    """Train on flipped labels, let the promotion check pass it, and put it into service."""
    data = stage.data
    labels = dataset.poison(data)
    flipped = int((labels != data.training_labels).sum())
    narrator.act(
        "The attack",
        f"Somebody inside the labelling pipeline has {flipped} of the smaller malignant tumours recorded as benign.",
        "The nightly retraining runs on these labels.",
    )
    poisoned = dataset.train(data.training, labels)
    number = stage.registry.serving().number
    new = register(stage, poisoned)
    narrator.say(
        f"Version {new}: accuracy {poisoned.check:.1%} on its held-out labels, from the same pipeline."
        f" The check wants at least the {sound.check:.1%} of version {number}."
    )
    if poisoned.check < sound.check:
        raise PartError("the promotion check has refused the poisoned version, so there is nothing to show")
    narrator.say(
        "It passes, and is promoted. What nobody measured: it finds only "
        f"{dataset.recall(poisoned.model, data.service, data.service_labels):.0%} of the malignant tumours."
    )
    stage.registry.promote(new)
    narrator.wait(stage, f"version {new} to be served", lambda: stage.served() == new)
    return Change(number, new)


def raise_alarm(narrator: Narrator, stage: Stage, change: Change) -> None:
    """Watch the alarm come."""
    narrator.act("The alarm", f"Version {change.poisoned} answers the clinics. Tocsin reads what it answers.")
    narrator.wait(stage, "the alarm", lambda: alarm(stage.receiver.messages) is not None)


def ask_a_person(narrator: Narrator, stage: Stage, change: Change) -> None:
    """Wait until somebody approves the rollback in the console."""
    count = partial(stage.daemon.metric, "tocsin_rollback_actions", model=MODEL)
    narrator.wait(stage, "the proposal", lambda: count(state="proposed") > 0)
    narrator.act(
        "Over to you",
        "Tocsin proposes to roll back. Look at the incident, and approve it if you agree:",
        stage.console,
    )

    def answered() -> bool:
        if count(state="denied") > 0:
            raise PartError(f"the rollback was denied, so version {change.poisoned} stays, and the story ends here")
        return count(state="proposed") == 0

    narrator.wait(stage, "your approval", answered, timeout=PATIENCE)


def roll_back(narrator: Narrator, stage: Stage, change: Change) -> float:
    """Watch the alias go back; return when it was seen back, in epoch seconds."""
    narrator.wait(stage, "the rollback", lambda: stage.registry.serving().number == change.sound)
    back_at = time.time()
    narrator.say(f"{clock(back_at)}  MLflow's alias is at version {change.sound} again; Tocsin moved it.")
    narrator.wait(stage, "the server to follow", lambda: stage.served() == change.sound)
    narrator.say(f"{clock(time.time())}  The model server serves version {change.sound}.")
    return back_at


def all_clear(narrator: Narrator, stage: Stage, change: Change) -> None:
    """Wait until the errors are gone and Tocsin says that it is over."""
    narrator.act("All clear", "The traffic goes on. When the evidence is gone, the incident resolves by itself.")
    narrator.wait(
        stage, f"{RECENT} answers by version {change.sound}", lambda: stage.traffic.error_rate(change.sound) is not None
    )
    rate = stage.traffic.error_rate(change.sound)
    narrator.say(f"{clock(time.time())}  {rate:.1%} of the last {RECENT} answers were wrong.")
    narrator.wait(stage, "the incident to resolve", lambda: end(stage.receiver.messages) is not None, timeout=180.0)


def look_around(narrator: Narrator, stage: Stage) -> None:
    """Print the addresses and wait for Ctrl-C."""
    at = stage.addresses
    narrator.act(
        "Look around",
        f"MLflow         {at.registry}/#/models/{MODEL}",
        f"Tocsin         {stage.console}",
        f"Metrics        {at.tocsin}/metrics",
        f"Model server   {at.server}/version",
        f"Kafka          {at.kafka}, topic {TOPIC}",
        f"Configuration  {stage.config}",
        "Press Ctrl-C to end everything.",
    )
    with contextlib.suppress(KeyboardInterrupt):
        narrator.rest(stage)
