"""The ACLs that docs/security.md has, one tuple each."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/security.md"
ROW = re.compile(r"^\| `([\w-]+)` \| (topics?|groups?|transactional id|cluster) \| (.+?) \| ([\w, ]+) \|$", re.MULTILINE)
KINDS = {"topic": "TOPIC", "group": "GROUP", "transactional id": "TRANSACTIONAL_ID", "cluster": "BROKER"}


def acls():
    """(user, kind of resource, its name, pattern, operation)."""
    found = []
    for user, kind, names, operations in ROW.findall(PAGE.read_text()):
        kind = KINDS[kind if kind == "cluster" else kind.removesuffix("s")]
        for name in re.findall(r"`([^`]+)`", names) or ["kafka-cluster"]:
            prefixed = name.endswith("*") and name != "*"
            for operation in operations.split(","):
                operation = operation.strip().replace(" ", "_").upper()
                resource = (name.removesuffix("*"), "PREFIXED") if prefixed else (name, "LITERAL")
                found.append((user, kind, *resource, operation))
    assert found
    return found


def users():
    return sorted({user for user, *_ in acls()})


def may(user, topic, operation):
    """Whether the page lets `user` do that to `topic`."""
    for who, kind, name, pattern, allowed in acls():
        is_it = topic == name or (pattern == "PREFIXED" and topic.startswith(name))
        if (who, kind) == (user, "TOPIC") and is_it and allowed in (operation, "ALL"):
            return True
    return False
