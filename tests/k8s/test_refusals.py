"""What is denied is tried: by the Pod Security Standard, by RBAC, by the kernel inside a pod, by the network where it can."""

import copy
import json

import pytest
from cluster import NAMESPACE, SERVERS, SERVICES, kubectl, objects, pods, say, workload_of

RESTRICTED = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "intruder"},
    "spec": {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "intruder", "image": "tickstream/cli:none", "securityContext": {
            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}],
    },
}


def container(pod):
    return pod["spec"]["containers"][0]


INTRUDERS = {
    "a privileged container": lambda pod: container(pod)["securityContext"].update(privileged=True, allowPrivilegeEscalation=True),
    "root": lambda pod: pod["spec"]["securityContext"].update(runAsNonRoot=False, runAsUser=0),
    "the node's files": lambda pod: pod["spec"].update(volumes=[{"name": "node", "hostPath": {"path": "/"}}]),
    "the node's network": lambda pod: pod["spec"].update(hostNetwork=True),
    "the node's processes": lambda pod: pod["spec"].update(hostPID=True),
    "a capability": lambda pod: container(pod)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
    "capabilities that are kept": lambda pod: container(pod)["securityContext"].pop("capabilities"),
    "a rise in privileges": lambda pod: container(pod)["securityContext"].update(allowPrivilegeEscalation=True),
    "no seccomp profile": lambda pod: pod["spec"]["securityContext"].pop("seccompProfile"),
    "a port of the node": lambda pod: container(pod).update(ports=[{"containerPort": 9100, "hostPort": 9100}]),
}


@pytest.mark.parametrize("wish", INTRUDERS)
def test_a_pod_that_may_more_is_refused(installation, wish):
    intruder = copy.deepcopy(RESTRICTED)
    INTRUDERS[wish](intruder)
    result = kubectl("create", "--filename=-", text=json.dumps(intruder), check=False)
    assert result.returncode != 0 and "violates PodSecurity \"restricted:" in result.stderr, result.stdout + result.stderr


def test_the_same_pod_without_a_wish_is_taken(installation):
    kubectl("create", "--dry-run=server", "--filename=-", text=json.dumps(RESTRICTED))


ACCOUNTS = [*SERVICES, *SERVERS, "topics", "migrate", "toolbox", "audit", "refiner-once", "retention", "b3", "default"]
DEEDS = [("get", "", "secrets"), ("list", "", "secrets"), ("get", "", "configmaps"), ("list", "", "pods"), ("create", "", "pods"),
         ("delete", "", "pods"), ("create", "", "pods/exec"), ("patch", "apps", "deployments"), ("create", "batch", "jobs"),
         ("create", "", "serviceaccounts/token"), ("create", "rbac.authorization.k8s.io", "rolebindings"), ("get", "", "nodes")]


def asked(account, deed):
    """Whether an account may do something, as the API server itself is asked."""
    verb, group, resource = deed
    resource, _, subresource = resource.partition("/")
    user = f"system:serviceaccount:{NAMESPACE}:{account}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"]
    attributes = {"namespace": NAMESPACE, "verb": verb, "group": group, "resource": resource, "subresource": subresource}
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": groups, "resourceAttributes": attributes}}


def test_a_service_account_may_nothing(installation):
    wishes = [(account, deed) for account in ACCOUNTS for deed in DEEDS]
    reviews = {"apiVersion": "v1", "kind": "List", "items": [asked(*wish) for wish in wishes]}
    answers = kubectl("create", "--filename=-", "--output=jsonpath={.status.allowed}{'\\n'}", text=json.dumps(reviews)).split()
    assert len(answers) == len(wishes)
    assert [wish for wish, allowed in zip(wishes, answers, strict=True) if allowed != "false"] == []
    say(f"{len(ACCOUNTS)} accounts, {len(DEEDS)} deeds each: none is allowed")


def test_no_pod_holds_a_token(installation):
    for pod in pods():
        sources = [source for volume in pod["spec"].get("volumes", []) for source in volume.get("projected", {}).get("sources", [])]
        assert not [source for source in sources if "serviceAccountToken" in source], pod["metadata"]["name"]


@pytest.mark.parametrize("name", [*SERVICES, *SERVERS, "toolbox"])
def test_the_kernel_holds_it_to_its_confinement(installation, name):
    """Read inside the running pod, not in its manifest."""
    read = kubectl("exec", workload_of(name), "--", "cat", "/proc/1/status")
    status = dict(line.split(":\t", 1) for line in read.splitlines() if ":\t" in line)
    assert "0" not in status["Uid"].split() and "0" not in status["Gid"].split(), status["Uid"]
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[capabilities], 16) == 0, capabilities
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    written = kubectl("exec", workload_of(name), "--", "touch", "/usr/written", check=False)
    assert "Read-only file system" in written.stderr, written.stderr


REACH = "exec 3<>/dev/tcp/{host}/{port}"
PORTS = {"kafka": 9092, "postgres": 5432, "s3": 9000}
LABEL = {"kafka": "tickstream/kafka", "postgres": "tickstream/database", "s3": "tickstream/store"}


def reaches(name, host, port):
    return kubectl("exec", workload_of(name), "--", "timeout", "5", "bash", "-c", REACH.format(host=host, port=port), check=False).returncode == 0


def test_the_network_lets_through_the_edges_and_nothing_else(installation):
    [dashboard] = [pod["status"]["podIP"] for pod in pods("dashboard")]
    if reaches("toolbox", dashboard, 9100):
        policies = ", ".join(policy["metadata"]["name"] for policy in objects("networkpolicies"))
        pytest.skip(f"untested: this cluster's network takes NetworkPolicies and enforces none ({policies})")
    for name in [*SERVICES, "toolbox"]:
        labels = pods(name)[-1]["metadata"]["labels"]
        for server, port in PORTS.items():
            wanted = labels.get(LABEL[server]) == "client"
            assert reaches(name, server, port) is wanted, f"{name} -> {server}"
        assert reaches(name, "1.1.1.1", 443) is (labels.get("tickstream/internet") == "client"), f"{name} -> the internet"
