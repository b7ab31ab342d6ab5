"""A bucket with object lock (S3), where nobody can remove or replace what was put: a copy of the audit log.

Each part is an object of its own, locked in compliance mode. Whoever puts another object under its name makes a new
version and leaves the old one, so it is all versions that are read.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Annotated, Any, Protocol, Self

from pydantic import Field, FilePath, StringConstraints, model_validator

from alerting.network import BaseAddress
from alerting.section import Secret, Section

TIMEOUT = 20.0
"""Seconds that the server may take to connect, or to say the next thing."""
ATTEMPTS = 2


class BucketConfig(Section):
    """Where a copy of the audit log is kept for good. Without keys, boto3 finds them as it does everywhere."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """Of the bucket; it must have object lock."""
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]{0,200}$")] = "tocsin/audit/"
    """Before the names of the objects."""
    retain_days: Annotated[int, Field(ge=1, le=36_500)] = 365
    """For how long nobody can remove an object, whoever they are."""
    endpoint: BaseAddress | None = None
    """Of a server other than Amazon's."""
    region: str | None = None
    ca_file: FilePath | None = None
    """PEM certificates to trust instead of the usual ones."""
    access_key: Secret | None = None
    secret_key: Secret | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if find_spec("boto3") is None:
            raise ValueError("boto3 is not installed; it comes with the extra `s3`")
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("give both `access_key` and `secret_key`, or none")
        return self


class BucketError(Exception):
    """The bucket did not take, or give, what it should; one line without secrets."""


class Numbered(Protocol):
    """A line of the log."""

    @property
    def number(self) -> int:
        """Of the entry that it is about."""

    @property
    def value(self) -> bytes:
        """What it says."""


class Bucket:
    """Safe to share between threads."""

    def __init__(self, config: BucketConfig, clock: Callable[[], float]) -> None:
        """Nothing is asked yet; `clock` gives epoch seconds."""
        import boto3  # noqa: PLC0415 - an extra
        from botocore.config import Config  # noqa: PLC0415 - see above

        self._config = config
        self._clock = clock
        limits = Config(connect_timeout=TIMEOUT, read_timeout=TIMEOUT, retries={"total_max_attempts": ATTEMPTS})
        self._client: Any = boto3.session.Session().client(
            "s3",
            endpoint_url=config.endpoint,
            region_name=config.region,
            verify=None if config.ca_file is None else str(config.ca_file),
            aws_access_key_id=None if config.access_key is None else config.access_key.reveal(),
            aws_secret_access_key=None if config.secret_key is None else config.secret_key.reveal(),
            config=limits,
        )

    def append(self, records: Sequence[Numbered]) -> None:
        """Put lines there as one object, and return when it is locked. Raises BucketError."""
        numbers = [record.number for record in records]
        until = datetime.fromtimestamp(self._clock(), UTC) + timedelta(days=self._config.retain_days)
        self._ask(
            "put_object",
            Key=f"{self._config.prefix}{min(numbers):012d}-{max(numbers):012d}.jsonl",
            Body=b"".join(record.value + b"\n" for record in records),
            ContentType="application/jsonl",
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=until,
        )

    def lines(self) -> Iterator[bytes]:
        """The lines of all objects, in every version that there is. Raises BucketError."""
        place: dict[str, Any] = {}
        while True:
            page = self._ask("list_object_versions", Prefix=self._config.prefix, **place)
            for each in page.get("Versions", ()):
                found = self._ask("get_object", Key=each["Key"], VersionId=each["VersionId"], body=True)
                yield from found.splitlines()
            if not page.get("IsTruncated"):
                return
            place = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}

    def close(self) -> None:
        """Release connections."""
        self._client.close()

    def _ask(self, call: str, *, body: bool = False, **words: object) -> Any:  # noqa: ANN401 - an untyped client
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - an extra

        try:
            answer = getattr(self._client, call)(Bucket=self._config.name, **words)
            return answer["Body"].read() if body else answer
        except ClientError as error:  # its code is a word of S3; what it says beside that may be anything
            why = str(error.response.get("Error", {}).get("Code", "an error"))
        except BotoCoreError as error:
            why = type(error).__name__
        raise BucketError(f"bucket {self._config.name}: {call} failed: {why}")
