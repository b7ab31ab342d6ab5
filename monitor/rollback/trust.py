"""Trust: which known-good marks of a registry count."""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from monitor.rollback.mark import Mark, vouched
from monitor.rollback.registry import ModelRegistry, ModelVersion


class TrustedRegistry:
    """A registry whose marks count only if they are remembered, signed and unchanged as the configuration wants.

    Implements `monitor.rollback.registry.ModelRegistry`.

    Args:
        inner: The registry itself.
        marks: The marks of a model as the store remembers them.
        is_signed: Whether a version's mark has a good signature; None if none is asked for.
        vouchers: How many have to have vouched for a version.
    """

    def __init__(
        self,
        inner: ModelRegistry,
        marks: Callable[[str], Mapping[str, Mark]],
        is_signed: Callable[[ModelVersion], bool] | None,
        vouchers: int = 1,
    ) -> None:
        self._inner = inner
        self._marks = marks
        self._is_signed = is_signed
        self._vouchers = vouchers
        self.move = inner.move
        self.mark = inner.mark
        self.pin = inner.pin
        self.artefact_digest = inner.artefact_digest
        self.fetch = inner.fetch
        self.close = inner.close

    def current(self, model: str) -> ModelVersion:
        """The version that the serving alias points to."""
        return self._judged(self._inner.current(model), self._marks(model))

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        """All versions, newest first."""
        marks = self._marks(model)
        return tuple(self._judged(version, marks) for version in self._inner.versions(model))

    def _judged(self, version: ModelVersion, marks: Mapping[str, Mark]) -> ModelVersion:
        """The version, with the reason why its mark does not count, if there is one."""
        mark, why = marks.get(version.version), None
        names = vouched(version, mark)
        if mark is not None and mark.withdrawn:
            why = f"its mark was withdrawn ({mark.why})"
        elif 0 < len(names) < self._vouchers:
            why = f"{len(names)} of {self._vouchers} have vouched for it ({', '.join(names)})"
        elif mark is not None and mark.digest is not None and version.digest not in {None, mark.digest}:
            why = "its recorded digest has changed since it was marked"
        elif self._is_signed is not None and version.known_good_at is not None and not self._is_signed(version):
            why = "its mark has no good signature"
        return version if why is None else replace(version, distrusted=why)
