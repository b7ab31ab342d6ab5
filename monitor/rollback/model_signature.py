"""Signatures of whole models, as the OpenSSF's model-signing makes them: the extra `signatures`.

A digest in the registry says that an artefact is what somebody recorded there. A signature says that it is what the
owner of a key has signed, whoever may write to the registry or to its files. Only keys and certificates are looked at,
which needs no network. The files are read and hashed, and never loaded: a model file can run code.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import structlog
from cryptography.exceptions import InvalidSignature
from pydantic import Field, FilePath, model_validator

from alerting.section import Section
from monitor.rollback.registry import ModelRegistry, RegistryError

_log = structlog.get_logger(__name__)

_NOT_GOOD = (InvalidSignature, ValueError, LookupError, TypeError, AttributeError)
"""What the library raises for signatures that do not hold, and for files that are none."""

Unsigned = Callable[[str, str], str | None]
"""From model and version to why its artefact's signature is no good, as a clause; None if it is good."""


class ModelSignature(Section):
    """Whose signature a target of a rollback has to have: exactly one of `public_key` and `certificates`."""

    public_key: FilePath | None = None
    """Of an elliptic curve (PEM)."""
    certificates: tuple[FilePath, ...] = ()
    """The chain that the signer's certificate is verified against (PEM)."""
    file: str = Field(default="model.sig", pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
    """The signature's name in the folder of the artefact."""
    required: bool = True
    """Whether a target may not serve if it has no signature, or if its artefact cannot be read."""

    @model_validator(mode="after")
    def _one_way_to_verify(self) -> Self:
        if (self.public_key is None) == (not self.certificates):
            raise ValueError("give either `public_key` or `certificates`")
        if find_spec("model_signing") is None:
            raise ValueError("needs the extra `signatures`, which is not installed")
        return self


def nobody_asks(_model: str, _version: str) -> str | None:
    """Where no signature is configured, none is missed."""
    return None


def verifier(wanted: ModelSignature, registry: ModelRegistry) -> Unsigned:
    """What looks at the signatures of a registry's artefacts; it raises RegistryError where they cannot be read.

    Raises:
        ValueError: the key, or a certificate, cannot be used.
    """
    from model_signing import verifying  # noqa: PLC0415 - an extra, and slow to import
    from OpenSSL import crypto  # noqa: PLC0415 - see above

    def verification() -> Any:  # noqa: ANN401 - a class of the library's, which is no part of what `strict` sees
        made = verifying.Config()
        if wanted.public_key is not None:
            return made.use_elliptic_key_verifier(public_key=wanted.public_key)
        return made.use_certificate_verifier(certificate_chain=wanted.certificates)

    def unsigned(model: str, version: str) -> str | None:
        try:
            with TemporaryDirectory(prefix="tocsin-") as own:
                folder = registry.fetch(model, version, Path(own))
                if folder is None:
                    return "its artefact cannot be read as a folder with a signature" if wanted.required else None
                signature = folder / wanted.file
                if not signature.is_file():
                    return "it is not signed" if wanted.required else None
                verification().verify(folder, signature)
        except OSError as error:
            raise RegistryError(f"the artefact cannot be read: {error.strerror}", passing=True) from None
        except (*_NOT_GOOD, crypto.Error, crypto.X509StoreContextError) as error:
            # What it says can quote the names of files, which whoever changed the artefact has chosen.
            _log.error("signature_not_good", model=model, version=version, why=type(error).__name__)
            return "its signature is not good"
        return None

    verification()  # a key that cannot be used is better known now
    return unsigned
