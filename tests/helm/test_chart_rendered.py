"""The chart through real helm: what comes out is valid Kubernetes, restricted, and what the daemon accepts."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.kit.brokers import Broker
from tests.kit.certificates import self_signed
from tests.kit.documents import ROOT
from tests.kit.helm import CHART, Helm, HelmError, Manifest, one
from tests.kit.recording import recording

pytestmark = pytest.mark.slow

KUBERNETES = ("1.29", "1.37")
"""The oldest version that the chart allows, and the newest known here."""
CRDS = ROOT.parent / "shared" / "schemas"
EXAMPLES = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
LEAST = EXAMPLES["sqlite"]
URL = "https://hooks.example.com/services/x"
TOCSIN = Path(sys.executable).with_name("tocsin")

examples = pytest.mark.parametrize("path", EXAMPLES.values(), ids=EXAMPLES.keys())


def container(manifests: Sequence[Manifest]) -> dict[str, Any]:
    (found,) = one(manifests, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    return dict(found)


# What comes out is valid.


@examples
def test_helm_finds_nothing_to_complain_about(helm: Helm, path: Path) -> None:
    helm.run("lint", "--strict", "--quiet", CHART, f"--values={path}")


@examples
def test_kubernetes_knows_every_field(helm: Helm, path: Path) -> None:
    for manifest in helm.template(path):
        if manifest["apiVersion"].partition("/")[0] not in ("monitoring.coreos.com", "keda.sh"):
            for version in KUBERNETES:
                kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.skipif(not CRDS.is_dir(), reason="no schemas of custom resources beside the repository")
def test_the_prometheus_operator_knows_every_field(helm: Helm) -> None:
    manifests = helm.template(EXAMPLES["observed"])
    custom = [each for each in manifests if each["apiVersion"] == "monitoring.coreos.com/v1"]
    assert len(custom) == 1 + len(list((ROOT / "grafana" / "rules").glob("*.yaml")))
    for manifest in [*custom, one(helm.template(EXAMPLES["secured"]), "ServiceMonitor")]:
        jsonschema.validate(manifest, crd(manifest["kind"]))
    wrong = one(manifests, "ServiceMonitor")
    wrong["spec"]["endpoints"][0]["intervall"] = "15s"
    with pytest.raises(jsonschema.ValidationError, match="intervall"):
        jsonschema.validate(wrong, crd("ServiceMonitor"))


def crd(kind: str) -> dict[str, Any]:
    definition = yaml.safe_load((CRDS / f"crd-{kind.lower()}s.yaml").read_text())
    (version,) = definition["spec"]["versions"]
    return strict(version["schema"]["openAPIV3Schema"])


def strict(node: Any) -> Any:
    """The same schema with unknown fields refused, which the API server prunes in silence."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: strict(item) for key, item in node.items()}
    if isinstance(node.get("properties"), dict) and not node.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if node.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    if "(?i)" in str(node.get("pattern")):
        del made["pattern"]  # Go's spelling of a regular expression
    return made


def test_rules_and_boards_are_those_of_the_repository(helm: Helm) -> None:
    manifests = helm.template(EXAMPLES["observed"], settings=["prometheusRule.grafanaUrl=https://g.example.com"])
    boards = {
        name: content
        for each in manifests
        if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
        for name, content in each["data"].items()
    }
    assert boards == {path.name: path.read_text() for path in (ROOT / "grafana" / "dashboards").glob("*.json")}
    rules = {each["metadata"]["name"]: each["spec"] for each in manifests if each["kind"] == "PrometheusRule"}
    for path in (ROOT / "grafana" / "rules").glob("tocsin-*.yaml"):
        text = path.read_text().replace("https://grafana.example", "https://g.example.com")
        assert rules[f"watch-{path.stem}"] == yaml.safe_load(text)
    assert len(boards) >= len(rules) > 1


def test_keda_follows_the_lag_of_every_topic(helm: Helm) -> None:
    manifests = helm.template(EXAMPLES["postgresql"])
    scaled = one(manifests, "ScaledObject")["spec"]
    workload = one(manifests, "StatefulSet")
    assert scaled["scaleTargetRef"] == {"kind": "StatefulSet", "name": workload["metadata"]["name"]}
    assert "replicas" not in workload["spec"]  # an upgrade would set them back
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (1, 6)
    watched = {trigger["metadata"]["topic"]: trigger["metadata"] for trigger in scaled["triggers"]}
    assert watched.keys() == {"tocsin.events", "tocsin.labels"}
    assert {each["consumerGroup"] for each in watched.values()} == {"tocsin-prod"}
    with pytest.raises(HelmError, match="KEDA does not know the variables of Tocsin"):
        helm.template(EXAMPLES["postgresql"], settings=["config.kafka.group_id=${GROUP}"])


def test_keda_knows_every_field(helm: Helm) -> None:
    schema = strict(json.loads((ROOT / "tests/helm/keda-scaledobject.json").read_text()))
    for settings in ((), ("keda.authenticationRef=kafka-login",)):
        made = one(helm.template(EXAMPLES["postgresql"], settings=settings), "ScaledObject")
        jsonschema.validate(made, schema)
    made["spec"]["minReplicas"] = 1
    with pytest.raises(jsonschema.ValidationError, match="minReplicas"):
        jsonschema.validate(made, schema)


def test_a_packed_chart_is_the_same_chart(helm: Helm, tmp_path: Path) -> None:
    helm.run("package", CHART, f"--destination={tmp_path}")
    (packed,) = tmp_path.glob("tocsin-*.tgz")
    path = EXAMPLES["observed"]
    assert helm.template(path, chart=packed) == helm.template(path)


# What comes out is safe.


@examples
def test_every_pod_is_restricted_and_has_a_read_only_root(helm: Helm, path: Path) -> None:
    manifests = helm.template(path)
    pods = [one(manifests, "Pod")["spec"], one(manifests, "StatefulSet")["spec"]["template"]["spec"]]
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert {next(iter(volume.keys() - {"name"})) for volume in pod.get("volumes", ())} <= {
            "configMap",
            "emptyDir",
            "secret",
        }
        for each in pod["containers"]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }


def test_no_secret_is_made_and_each_key_is_mounted_where_the_configuration_looks(helm: Helm) -> None:
    manifests = helm.template(EXAMPLES["secured"])
    assert [manifest["kind"] for manifest in manifests if manifest["kind"] == "Secret"] == []
    volumes = {each["name"]: each for each in one(manifests, "StatefulSet")["spec"]["template"]["spec"]["volumes"]}
    mounts = {each["mountPath"]: each for each in container(manifests)["volumeMounts"]}
    mount = mounts["/etc/tocsin/secrets/kafka"]
    assert volumes[mount["name"]]["secret"]["secretName"] == "tocsin-kafka"
    assert mount["readOnly"] is True
    assert container(manifests)["image"].startswith("registry.example.com/ml/tocsin@sha256:")


def test_with_a_certificate_everything_that_asks_speaks_tls(helm: Helm) -> None:
    for path, scheme in ((EXAMPLES["secured"], "https"), (EXAMPLES["observed"], "http")):
        manifests = helm.template(path)
        probes = [container(manifests)[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]
        assert {probe["scheme"] for probe in probes} == {scheme.upper()}
        (endpoint,) = one(manifests, "ServiceMonitor")["spec"]["endpoints"]
        assert endpoint["scheme"] == scheme
        assert f'"{scheme}://' in one(manifests, "Pod")["spec"]["containers"][0]["args"][0]


def test_the_network_policy_is_as_narrow_as_it_is_told(helm: Helm) -> None:
    policy = one(helm.template(EXAMPLES["secured"]), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 9093, 5000, 443}
    assert one(helm.template(LEAST), "NetworkPolicy")["spec"]["policyTypes"] == ["Ingress"]
    nobody = one(helm.template(LEAST, settings=["networkPolicy.ingressFrom=null"]), "NetworkPolicy")["spec"]
    assert nobody["ingress"] == []


def test_two_never_write_one_file(helm: Helm) -> None:
    workload = one(helm.template(LEAST), "StatefulSet")["spec"]
    assert workload["replicas"] == 1
    assert [claim["metadata"]["name"] for claim in workload["volumeClaimTemplates"]] == ["data"]


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("replicas=2", "replicas"),
        ("replicas=0", "replicas"),
        ("keda.enabled=true", "keda.enabled"),
        ("keda.minReplicas=0", "keda.minReplicas"),
        ("persistence.enabled=false", "persistence.enabled"),
        ("persistance.size=1Gi", "persistance"),
        ("image.pullPolicy=Sometimes", "image.pullPolicy"),
        ("config.store.path=/data/tocsin.db", "config.store.path"),
        ("config.detection.bugdet=5", "bugdet"),
        ("config.detection.budget=many", "config.detection.budget"),
        ("config.server.port=0", "config.server.port"),
        ("config.kafka.topics=null", "config.kafka.topics"),
        ("config.kafka.security.protocol=TLS", "config.kafka.security.protocol"),
        ("config.alerting.receivers[0].kind=fax", "config.alerting.receivers.0.kind"),
        ("secrets.a/b=x", "a/b"),
    ],
)
def test_a_wrong_value_is_refused_and_named(helm: Helm, setting: str, place: str) -> None:
    with pytest.raises(HelmError) as error:
        helm.template(LEAST, settings=[setting])
    said = str(error.value)
    assert "don't meet the specifications of the schema" in said
    assert place in said or f"/{place.replace('.', '/')}" in said
    assert len(said.splitlines()) < 12


def test_several_replicas_need_to_be_told_that_they_are_several(helm: Helm) -> None:
    settings = ["keda.enabled=false", "replicas=3"]
    assert one(helm.template(EXAMPLES["postgresql"], settings=settings), "StatefulSet")["spec"]["replicas"] == 3
    with pytest.raises(HelmError, match="replicas"):
        helm.template(EXAMPLES["postgresql"], settings=[*settings, "config.kafka.replicas=one"])


def test_what_only_the_user_can_know_is_asked_for(helm: Helm) -> None:
    with pytest.raises(HelmError) as error:
        helm.template()
    assert all(word in str(error.value) for word in ("bootstrap_servers", "topics", "models"))


# What comes out is what the daemon accepts.


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("baseline")
    (folder / "mail.jsonl").write_bytes(b"\n".join(recording(500)) + b"\n")
    build = [TOCSIN, "baseline", "build", folder / "mail.jsonl", "--out", folder / "mail.json"]
    subprocess.run(build, check=True, capture_output=True)
    return (folder / "mail.json").read_bytes()


class Pod:
    """The container of a rendered chart, with its files below a folder, and as a process of this machine."""

    def __init__(self, manifests: Sequence[Manifest], root: Path, baseline: bytes) -> None:
        self.container = container(manifests)
        self.grace = one(manifests, "StatefulSet")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        self._root, self._etc = root, f"{root}/etc/tocsin/"
        (text,) = [each["data"]["tocsin.yaml"] for each in manifests if "tocsin.yaml" in each.get("data", ())]
        certificate, key = (path.read_bytes() for path in self_signed(root))
        known = {"server/tls.crt": certificate, "server/tls.key": key, "baselines/mail.json": baseline}
        for name in strings(yaml.safe_load(text)):
            if name.startswith("/etc/tocsin/"):
                self._lay(name, known.get("/".join(name.split("/")[-2:]), URL.encode()))
        (self._root / "etc/tocsin").mkdir(parents=True, exist_ok=True)
        (self._root / "etc/tocsin/tocsin.yaml").write_text(text.replace("/etc/tocsin/", self._etc))
        (self._root / "var/lib/tocsin").mkdir(parents=True)

    def _lay(self, name: str, content: bytes) -> None:
        """What a key of a Secret or ConfigMap becomes; it has to be in one of the volumes."""
        mounts = [mount["mountPath"] for mount in self.container["volumeMounts"]]
        assert any(name.startswith(f"{mount}/") for mount in mounts), f"{name} is in no volume"
        path = self._root / name.removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """The program of the image with the container's arguments, or with this command in place of `run`."""
        _, *options = [word.replace("/etc/tocsin/", self._etc) for word in self.container["args"]]
        environ = {each["name"]: str(each.get("value", URL)) for each in self.container["env"]}
        return subprocess.Popen(
            [TOCSIN, *(command or self.container["args"][:1]), *options],
            cwd=self._root / "var/lib/tocsin",
            env={"PATH": os.environ["PATH"]} | environ | {"POD_NAME": "watch-tocsin-0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def probe(self, name: str) -> str:
        """The page that a probe asks for."""
        page = self.container[name]["httpGet"]
        (port,) = [port["containerPort"] for port in self.container["ports"] if port["name"] == page["port"]]
        return f"http://127.0.0.1:{port}{page['path']}"


def strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    for below in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from strings(below)


@examples
def test_the_daemon_accepts_the_rendered_configuration(helm: Helm, path: Path, tmp_path: Path, baseline: bytes) -> None:
    checked = Pod(helm.template(path), tmp_path, baseline).start("check")
    said, _ = checked.communicate(timeout=60)
    assert (checked.returncode, said.rstrip().endswith(": valid")) == (0, True), said


def test_large_numbers_arrive_as_they_were_written(helm: Helm, tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_text("config: {detection: {budget: 10000000}, join: {max_pending: 2000000}}")
    manifests = helm.template(LEAST, tmp_path / "large.yaml")
    text = one(manifests, "ConfigMap")["data"]["tocsin.yaml"]
    config = yaml.safe_load(text)
    assert (config["detection"]["budget"], config["join"]["max_pending"]) == (10_000_000, 2_000_000)


def test_the_rendered_container_serves_its_probes_and_ends_in_time(
    helm: Helm, embedded_broker: Broker, tmp_path: Path, baseline: bytes
) -> None:
    topic = f"helm-{tmp_path.name}"
    embedded_broker.create_topic(topic)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = (
        f"config.kafka.bootstrap_servers={{{embedded_broker.address}}}",
        f"config.kafka.topics={{{topic}}}",
        f"config.kafka.group_id={topic}",
        "config.kafka.session_timeout=2",
        "config.kafka.heartbeat_interval=0.5",
        "config.server.host=127.0.0.1",
        f"config.server.port={port}",
    )
    pod = Pod(helm.template(LEAST, settings=settings), tmp_path, baseline)
    process = pod.start()
    try:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            wait_for(pod.probe(probe), process)
        assert "tocsin_build_info" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=pod.grace)
    finally:
        process.kill()
    assert process.returncode == 0
    assert {path.name for path in (tmp_path / "var/lib/tocsin").iterdir()} >= {"tocsin.db"}


def wait_for(page: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.HTTPError):
            if httpx.get(page).status_code == 200:
                return
        time.sleep(0.1)
    process.kill()
    raise AssertionError(f"{page} was not well: {process.communicate()[0]}")
