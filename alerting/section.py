"""What every section of the configuration file has in common, and how it names a secret."""

from collections.abc import Callable
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, SecretStr, model_validator


class Section(BaseModel):
    """A frozen section of the configuration; a key it does not know is an error, not a wish."""

    # An error message is shown and logged; the input it would quote may be a secret in the wrong place.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Secret(Section):
    """A secret given as a value (normally `${NAME}`, from the environment) or as a file, never both."""

    value: SecretStr | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.value is None) == (self.file is None):
            raise ValueError("give exactly one of `value` and `file`")
        if self.file is not None and not self.file.is_file():
            raise ValueError(f"no such secret file: {self.file}")
        return self

    def reveal(self) -> str:
        """Return the secret itself. Call it where it is sent, and nowhere else."""
        if self.file is not None:
            return self.file.read_text(encoding="utf-8").strip()
        return self.value.get_secret_value() if self.value is not None else ""


def checked(secret: Secret, check: Callable[[str], object]) -> Secret:
    """Return a secret whose content passes `check`, so that a wrong one is found at the start and not at night.

    Raises:
        ValueError: From `check`, which must not repeat the secret, or because the secret's file cannot be read.
    """
    try:
        check(secret.reveal())
    except OSError as error:
        raise ValueError(f"cannot read the secret file ({error.strerror})") from None
    return secret
