#!/usr/bin/env python3
"""Writes docs/configuration.md of what every program says with --help; --check only compares. Needs the programs built:
CARGO_TARGET_DIR/debug, or the folder that --binaries names."""

import argparse
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/configuration.md"
PROGRAMS = ["producer", "consumer-lake", "refiner", "consumer-db", "consumer-alerts", "dashboard", "tickstream", "stack"]
HEAD = """\
# Configuration

Every setting of every program, as the program itself says it: `scripts/configuration.py` writes this page of their `--help`, and
`make test` compares it. A setting is a flag, or the variable beside it; the flag counts more. [.env.sample](../.env.sample) has the
variables in the order in which one meets them. A wrong value is exit code 2 and one line that says what would be right.

A variable that may hold a secret (`KAFKA_PROPERTIES`, `SCHEMA_REGISTRY_URL`, `DATABASE_URL`, the sources' keys) has a twin that ends in
`_FILE` and names a file with the value: `DATABASE_URL_FILE=/run/secrets/url`.
"""
FLAG = re.compile(r"^\s+(?:-\w, )?--([\w-]+)")


def help_of(binary, words):
    # As wide as it likes, and without the variables of whoever runs this.
    environment = {"PATH": os.environ["PATH"], "COLUMNS": "10000", "HOME": "/nonexistent"}
    return subprocess.run([binary, *words, "--help"], capture_output=True, text=True, env=environment, check=True).stdout


def section(text, title):
    found = re.search(rf"^{title}:\n(.*?)(?:\n\S|\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def commands(binary, words=()):
    """Every command, with what it says."""
    text = help_of(binary, words)
    yield words, text
    for name in re.findall(r"^  ([a-z][\w-]*)(?:  |$)", section(text, "Commands"), re.MULTILINE):
        if name != "help":
            yield from commands(binary, (*words, name))


def settings(text):
    """Flag, variable, default and meaning of each option."""
    block = section(text, "Options")
    for part in re.split(r"^(?=[ ]+(?:-\w, )?--\w)", block, flags=re.MULTILINE)[1:]:
        flag = FLAG.match(part)[1]
        if flag in ("help", "version"):
            continue
        variable = re.search(r"\[env: (\w+)=?\]", part)
        default = re.search(r"\[default: (.*?)\]", part)
        lines = part.splitlines()[1:]
        meaning = " ".join(line.strip() for line in lines if line.strip() and not line.strip().startswith(("[env:", "[default:", "Possible values:", "- ")))
        choices = re.search(r"\[possible values: (.*?)\]", part)
        if not choices:
            named = re.findall(r"^\s+- ([\w-]+):", part, re.MULTILINE)
            meaning += f" [possible values: {', '.join(named)}]" if named else ""
        yield flag, variable[1] if variable else "", default[1] if default else "", meaning


def cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;").replace("{", "&#123;")


def page(folder):
    rows = {}
    for program in PROGRAMS:
        for words, text in commands(folder / program):
            for flag, variable, default, meaning in settings(text):
                key = (variable, flag, default, meaning)
                rows.setdefault(key, {}).setdefault(program, []).append(" ".join(words))
    everywhere = {key for key, programs in rows.items() if len(programs) > 2}
    lines = [HEAD]
    titles = [("Several programs", everywhere)] + [
        (program, {key for key, programs in rows.items() if program in programs and key not in everywhere}) for program in PROGRAMS
    ]
    for title, keys in titles:
        lines += [f"## {title}\n", "| variable | flag | default | meaning |", "|---|---|---|---|"]
        for variable, flag, default, meaning in (key for key in rows if key in keys):
            of = rows[variable, flag, default, meaning]
            if title == "Several programs":
                where = "" if len(of) == len(PROGRAMS) else f" ({', '.join(of)})"
            else:
                places = [words for words in of[title] if words]
                where = f" (`{'`, `'.join(places)}`)" if places and "" not in of[title] else ""
            default = f"`{cell(default)}`" if default else ""
            variable = f"`{variable}`" if variable else ""
            lines.append(f"| {variable} | `--{flag}` | {default} | {cell(meaning)}{where} |")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--binaries", type=pathlib.Path, default=pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug")
    arguments = parser.parse_args()
    text = page(arguments.binaries)
    if not arguments.check:
        PAGE.write_text(text)
    elif PAGE.read_text() != text:
        sys.exit(f"{PAGE.relative_to(ROOT)} is not what the programs say: scripts/configuration.py writes it anew")


if __name__ == "__main__":
    main()
