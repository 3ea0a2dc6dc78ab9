#!/usr/bin/env python3
"""Holds every dependency to deny.toml's licences, bans and sources, from `cargo metadata` alone.

For machines without cargo-deny. It cannot see advisories: those need the advisory database, and it says so.
Exit 0: all keep to the lists. Exit 1: names each crate that does not. Exit 2: deny.toml or the metadata cannot be read.
"""

import json
import pathlib
import re
import subprocess
import sys

try:
    import tomllib
except ImportError:  # Python 3.10 and older; pip always carries a reader
    from pip._vendor import tomli as tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
OPERATORS = {"AND", "OR", "WITH", "(", ")"}


def satisfied(expression, allowed):
    """Whether an SPDX expression can be fulfilled with the allowed licences alone. AND binds tighter than OR."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def peek():
        return tokens[0] if tokens else None

    def one_of():
        fulfilled = all_of()
        while peek() == "OR":
            tokens.pop(0)
            fulfilled = all_of() or fulfilled
        return fulfilled

    def all_of():
        fulfilled = single()
        while peek() == "AND":
            tokens.pop(0)
            fulfilled = single() and fulfilled
        return fulfilled

    def single():
        token = tokens.pop(0)
        if token == "(":
            fulfilled = one_of()
            if not tokens or tokens.pop(0) != ")":
                raise ValueError("a parenthesis is not closed")
            return fulfilled
        if token in OPERATORS:
            raise ValueError(f"unexpected {token}")
        if peek() == "WITH":
            tokens.pop(0)
            token = f"{token} WITH {tokens.pop(0)}"
        return token in allowed

    try:
        fulfilled = one_of()
    except IndexError:
        raise ValueError("it ends too early") from None
    if tokens:
        raise ValueError(f"unexpected {tokens[0]}")
    return fulfilled


def resolved(targets):
    """The packages of the workspace's own dependency graph on these systems, and who depends on whom."""
    packages, parents = {}, {}
    for target in targets:
        command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
        metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
        by_id = {package["id"]: package for package in metadata["packages"]}
        packages.update(by_id)
        for node in metadata["resolve"]["nodes"]:
            for dependency in node["deps"]:
                parents.setdefault(by_id[dependency["pkg"]]["name"], set()).add(by_id[node["id"]]["name"])
    return packages.values(), parents


def problems(packages, parents, rules):
    allowed = set(rules["licenses"]["allow"])
    exceptions = {entry["crate"]: set(entry["allow"]) for entry in rules["licenses"].get("exceptions", [])}
    banned = {entry["crate"]: entry for entry in rules["bans"]["deny"]}
    for package in packages:
        name, source, licence = package["name"], package["source"], package["license"]
        label = f"{name} {package['version']}"
        if source and "crates.io" not in source:
            yield f"{label}: comes from {source}; only crates.io is allowed"
        if not licence:
            yield f"{label}: states no licence"
        else:
            try:
                if not satisfied(licence, allowed | exceptions.get(name, set())):
                    yield f"{label}: {licence} is not allowed by deny.toml"
            except ValueError as error:
                yield f"{label}: cannot read the licence {licence!r}: {error}"
        if name in banned:
            strangers = parents.get(name, set()) - set(banned[name].get("wrappers", []))
            if strangers or "wrappers" not in banned[name]:
                yield f"{label}: banned ({banned[name]['reason']}); asked for by {', '.join(sorted(strangers))}"
    for crate in exceptions.keys() - {package["name"] for package in packages}:
        yield f"{crate}: deny.toml makes an exception for it, but nothing depends on it"


def main():
    try:
        rules = tomllib.loads((ROOT / "deny.toml").read_text())
        packages, parents = resolved(rules["graph"]["targets"])
    except (OSError, KeyError, ValueError, subprocess.CalledProcessError) as error:
        print(f"licences: {error}", file=sys.stderr)
        return 2
    found = sorted(set(problems(packages, parents, rules)))
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"licences, bans and sources: {len(packages)} crates, {len(found)} problems (deny.toml)")
    print("advisories: NOT CHECKED here; `cargo deny check advisories` does it where its database can be fetched")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
