""".env.sample names every variable that a program or docker-compose.yaml reads, each once and explained, and no other."""

import re

from conftest import READ_BY_LIBRARIES, ROOT, SERVICES, env_twins

SAMPLE = (ROOT / ".env.sample").read_text()
LINE = re.compile(r"^(?:# )?([A-Z][A-Z0-9_]*)=", re.MULTILINE)


def test_names_are_those_that_are_read():
    compose = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", (ROOT / "docker-compose.yaml").read_text()))
    read = env_twins("pipeline", "cli", "stack", *SERVICES) | READ_BY_LIBRARIES | compose
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
