""".env.sample names every variable that a program or docker-compose.yaml reads, each once and explained, and no other."""

import re

from conftest import READ_BY_LIBRARIES, ROOT, SERVICES, env_twins

PROGRAMS = ["pipeline", "cli", "stack", *SERVICES]
SAMPLE = (ROOT / ".env.sample").read_text()
LINE = re.compile(r"^(?:# )?([A-Z][A-Z0-9_]*)=", re.MULTILINE)


def test_names_are_those_that_are_read():
    compose = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", (ROOT / "docker-compose.yaml").read_text()))
    read = env_twins(*PROGRAMS) | READ_BY_LIBRARIES | compose
    named = LINE.findall(SAMPLE)
    assert sorted(named) == sorted(set(named)), "a name stands there twice"
    assert read - set(named) == set(), "read, but not in .env.sample"
    assert set(named) - read == set(), "in .env.sample, but nothing reads it"


def test_each_is_explained():
    for block in re.split(r"\n\s*\n", SAMPLE.strip()):
        for number, line in enumerate(lines := block.splitlines()):
            if LINE.match(line):
                assert any(other.startswith("#") and not LINE.match(other) for other in lines[:number]), line


def test_it_is_a_file_that_a_shell_can_source():
    for line in SAMPLE.splitlines():
        assert not line or line.startswith("#") or re.fullmatch(r"[A-Z][A-Z0-9_]*=\S*", line), line


def defaults():
    """Each variable's literal defaults, as the command lines state them; a number's underscores are for the eye alone."""
    found = {}
    for path in (path for program in PROGRAMS for path in (ROOT / program / "src").rglob("*.rs")):
        for attribute in re.findall(r"#\[arg\((.*?)\)\]", path.read_text(), re.DOTALL):
            name = re.search(r'\benv\s*=\s*"([A-Z0-9_]+)"', attribute)
            text = re.search(r'default_value\s*=\s*"([^"]*)"', attribute)
            number = re.search(r"default_value_t\s*=\s*([0-9_]+)\s*(?:,|$)", attribute)
            if name and (text or number):
                value = text.group(1) if text else number.group(1).replace("_", "")
                found.setdefault(name.group(1), set()).add(value)
    return found


def test_values_are_the_defaults():
    stated = defaults()
    assert len(stated) > 10
    for line in SAMPLE.splitlines():
        name, is_setting, value = line.removeprefix("# ").partition("=")
        if is_setting and name in stated:
            assert value in stated[name], f"{name}: the default is {' or '.join(stated[name])}"
