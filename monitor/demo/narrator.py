"""Tells people what happens: acts, sentences, messages as they arrive, and live figures while something is awaited."""

import threading
from collections.abc import Callable

from rich.console import Console
from rich.panel import Panel
from rich.status import Status
from rich.text import Text

from monitor.demo.receiver import Message
from monitor.demo.stage import Stage
from monitor.demo.summary import clock


class Narrator:
    """Speaks to one console."""

    def __init__(self, console: Console, status: Status) -> None:
        """Speak on `console`; `status` is its line of live figures, which only a terminal shows."""
        self._console = console
        self._status = status
        self._acts = 0
        self._verdict = ""

    def act(self, title: str, *sentences: str) -> None:
        """Begin the next act."""
        self._acts += 1
        self._console.print()
        self._console.rule(Text(f"{self._acts}. {title}", style="bold"), align="left")
        for sentence in sentences:
            self.say(sentence)

    def say(self, sentence: str) -> None:
        """Say a sentence, as it is."""
        self._console.print(sentence, markup=False)

    def show(self, message: Message) -> None:
        """Show a message as the person on call would see it. Called from the receiver's threads."""
        annotations, verdict = message.body["commonAnnotations"], message.body["commonLabels"]["verdict"]
        details = annotations["description"]
        if verdict == self._verdict:
            details = details.splitlines()[-1]  # the evidence was shown with the verdict; this is what was done
        self._verdict = verdict
        body = Text.assemble((annotations["summary"], "bold"), "\n\n", (details, "dim"))
        style = "green" if message.body["status"] == "resolved" else "red"
        title = Text(f"message to the person on call, {clock(message.received_at)}")
        self._console.print(Panel(body, title=title, title_align="left", border_style=style))

    def wait(self, stage: Stage, what: str, ready: Callable[[], bool], timeout: float = 60.0) -> None:
        """Wait for something while the traffic goes on, with live figures.

        Args:
            stage: The running parts.
            what: What is waited for, as it reads after "waiting for".
            ready: Asked again and again.
            timeout: Seconds.

        Raises:
            PartError: It did not happen, or a part or the traffic failed.
        """

        def look() -> bool:
            stage.traffic.check()
            self._status.update(Text(f"waiting for {what}; {_figures(stage)}"))
            return ready()

        stage.parts.wait(what, look, timeout)

    def rest(self, stage: Stage) -> None:
        """Let people look around until they press Ctrl-C."""
        self._status.update("everything is still running; Ctrl-C ends it")
        while not threading.Event().wait(1.0):
            stage.parts.check()
            stage.traffic.check()


def _figures(stage: Stage) -> str:
    """Say how much traffic there was, and how many of the latest answers were wrong."""
    outcomes = stage.traffic.outcomes
    if not outcomes:
        return "no traffic yet"
    version, rate = outcomes[-1].version, stage.traffic.error_rate(outcomes[-1].version)
    wrong = "" if rate is None else f", {rate:.1%} wrong"
    return f"{len(outcomes)} predictions, version {version}{wrong}"
