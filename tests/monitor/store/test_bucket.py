"""A copy of the audit log in a bucket with object lock, on a real server of that protocol."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer
from pydantic import ValidationError

from monitor.service.audit_export import copy
from monitor.store.audit import Act, Broken
from monitor.store.audit_copy import verify
from monitor.store.audit_table import Place
from monitor.store.bucket import Bucket, BucketConfig, BucketError
from monitor.store.store import Store

SECRETS = {"access_key": {"value": "c4n4ry-access"}, "secret_key": {"value": "c4n4ry-secret"}}
NOW = 4_000_000_000.0
"""The server measures the lock by its own clock, which is before this."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    made = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    made.start()
    yield "http://{}:{}".format(*made.get_host_and_port())
    made.stop()


@pytest.fixture
def client(server: str) -> Iterator[Any]:
    words = {"endpoint_url": server, "region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    with closing(boto3.session.Session().client("s3", **words)) as made:
        yield made


@pytest.fixture
def config(server: str, client: Any, request: pytest.FixtureRequest) -> BucketConfig:
    """A bucket of its own for each test."""
    name = f"audit-{abs(hash(request.node.name))}"
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return BucketConfig.model_validate({"name": name, "endpoint": server, "region": "us-east-1"} | SECRETS)


def write(store: Store, count: int) -> None:
    store.audit.append(*(Act(float(number), "ada", "did", f"s{number}") for number in range(count)))


def test_what_was_put_there_cannot_be_removed_and_what_is_added_is_seen(
    config: BucketConfig, client: Any, tmp_path: Path
) -> None:
    with closing(Store(tmp_path / "a.db")) as store, closing(Bucket(config, lambda: NOW)) as bucket:
        assert list(bucket.lines()) == []
        for count in (3, 4):
            write(store, count)
            assert copy(store, Place.BUCKET, bucket) == count
        assert (store.audit.copied(Place.BUCKET).entry, store.audit.copied(Place.TOPIC).entry) == (7, 0)
        assert verify(bucket.lines(), None) == store.audit.head()

        first, second = client.list_object_versions(Bucket=config.name)["Versions"]
        assert first["Key"] == "tocsin/audit/000000000001-000000000003.jsonl"
        lock = client.head_object(Bucket=config.name, Key=first["Key"], VersionId=first["VersionId"])
        assert lock["ObjectLockMode"] == "COMPLIANCE"
        assert lock["ObjectLockRetainUntilDate"].timestamp() == NOW + 365 * 86400.0
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(Bucket=config.name, Key=first["Key"], VersionId=first["VersionId"])
        client.delete_object(Bucket=config.name, Key=first["Key"])  # hides it, and removes nothing
        assert verify(bucket.lines(), None) == store.audit.head()

        with closing(Store(tmp_path / "b.db")) as other:  # somebody puts another history under the same names
            write(other, 7)
            other.audit.append(Act(99.0, "eve", "did", "x"))
            lines = [line.replace(b"ada", b"eve") for line in bucket.lines()]
        client.put_object(Bucket=config.name, Key=second["Key"], Body=b"\n".join(lines))
        assert verify(bucket.lines(), None) == Broken(1, "it is there twice, and says something else")


def test_many_versions_are_all_read(config: BucketConfig, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        client.put_object(Bucket=config.name, Key=f"tocsin/audit/{number % 2}", Body=str(number).encode())
    client.put_object(Bucket=config.name, Key="elsewhere", Body=b"no")
    with closing(Bucket(config, lambda: NOW)) as bucket:
        listed = bucket._client.list_object_versions
        monkeypatch.setattr(bucket._client, "list_object_versions", lambda **words: listed(MaxKeys=2, **words))
        assert sorted(bucket.lines()) == [b"0", b"1", b"2", b"3", b"4"]


def test_what_goes_wrong_is_one_line_without_secrets(config: BucketConfig, client: Any, tmp_path: Path) -> None:
    client.create_bucket(Bucket="no-lock-here")
    wrong = {"no-lock-here": {}, "not-there-at-all": {}, config.name: {"endpoint": "http://127.0.0.1:1"}}
    for name, changes in wrong.items():
        broken = config.model_copy(update={"name": name} | changes)
        with closing(Store(tmp_path / f"{name}.db")) as store, closing(Bucket(broken, lambda: NOW)) as bucket:
            write(store, 2)
            with pytest.raises(BucketError, match=f"^bucket {name}: put_object failed: [A-Za-z]+$") as error:
                copy(store, Place.BUCKET, bucket)
            assert "c4n4ry" not in str(error.value)
            assert store.audit.copied(Place.BUCKET).entry == 0


@pytest.mark.parametrize(
    "wrong", [{"name": "No"}, {"retain_days": 0}, {"access_key": None}, {"endpoint": "ftp://x"}, {"prefix": "a b"}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    good: dict[str, Any] = {"name": "audit", **SECRETS}
    BucketConfig.model_validate(good)
    with pytest.raises(ValidationError):
        BucketConfig.model_validate(good | wrong)
