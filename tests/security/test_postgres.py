"""Postgres lets the writer in by TLS alone, as a role that may only write; whoever cannot prove to be that server gets no password."""

import os
import subprocess
from urllib.parse import urlsplit

import psycopg
import pytest

from certificates import Authority
from conftest import Program, wait
from services import BINARIES

PASSWORD = "a:b\\c d"


@pytest.fixture(scope="module")
def guarded(world):
    """The server has a certificate for 127.0.0.1, and a user of the writer's role, from whom it takes nothing in plain."""
    certificate, key, _ = world.authority.issue("postgres", host="127.0.0.1")
    migrate = [BINARIES / "consumer-db", "migrate"]
    subprocess.run(migrate, env={**os.environ, **world.environment}, check=True, timeout=300)
    with owner(world) as database:
        folder = database.execute("show data_directory").fetchone()[0]
        # By the server itself, whose user owns them then.
        for content, name in [(certificate.read_text(), "server.crt"), (key.read_text(), "server.key")]:
            database.execute(written(content, f"umask 077; cat > {folder}/{name}"))
        for rule in ["hostnossl all prices_writer all reject", "hostssl all prices_writer all scram-sha-256"]:
            database.execute(written(rule, f"f={folder}/pg_hba.conf; cat - $f > $f.new && cat $f.new > $f"))
        database.execute("create role prices_writer login password %s in role tickstream_writer" % psycopg.sql.quote(PASSWORD))
        database.execute("alter system set ssl = on")
        database.execute("select pg_reload_conf()")
        wait("TLS", lambda: database.execute("show ssl").fetchone()[0] == "on")
    yield world
    with owner(world) as database:
        database.execute("alter system reset ssl")
        database.execute("select pg_reload_conf()")


def owner(world):
    return psycopg.connect(world.environment["DATABASE_URL"], autocommit=True)


def written(content, command):
    """Lines to a program that the server runs."""
    return f"copy (select unnest(string_to_array($text${content.strip()}$text$, e'\\n'))) to program '{command}'"


def url(world, host="127.0.0.1", authority=None, mode="verify-full"):
    parts = urlsplit(world.environment["DATABASE_URL"])
    return f"postgres://prices_writer@{host}:{parts.port}{parts.path}?sslmode={mode}&sslrootcert={(authority or world.authority).file}"


def settings(world, folder, address):
    """Of a consumer-db whose password stands in a file of libpq's form."""
    file = folder / "pgpass"
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    file.write_text(f"*:*:*:prices_writer:{escaped}\n")
    file.chmod(0o600)
    # That variable would count more than the file.
    world.environment.pop("PGPASSWORD", None)
    return {**world.kafka("consumer-db", "scram"), "PGPASSFILE": str(file), "DATABASE_URL": address, "DB_NO_MIGRATE": "true"}


def test_the_writer_comes_in_by_tls_as_one_who_may_only_write(guarded, tmp_path):
    writer = Program(guarded, "consumer-db", [], settings(guarded, tmp_path, url(guarded))).start()
    guarded.services.append(writer)
    writer.ready()
    with owner(guarded) as database:
        sessions = "select distinct ssl from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'prices_writer'"
        assert wait("its sessions", lambda: database.execute(sessions).fetchall()) == [(True,)]
    writer.stop()
    assert "a:b" not in writer.log.read_text()
    with psycopg.connect(url(guarded), password=PASSWORD, autocommit=True) as session:
        for forbidden in ["drop table ticks", "alter table ticks add column x int", "create table mine ()", "create role another"]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(forbidden)


@pytest.mark.parametrize("wrong", ["authority", "host", "plain"])
def test_who_is_not_that_server_or_does_not_speak_tls_is_refused_with_a_line(guarded, tmp_path, wrong):
    address, said = {
        "authority": lambda: (url(guarded, authority=Authority(tmp_path / "stranger", "another authority")), "certificate"),
        "host": lambda: (url(guarded, host="localhost"), "certificate"),
        "plain": lambda: (url(guarded, mode="disable"), "no encryption"),
    }[wrong]()
    for program in ["consumer-db"], ["tickstream", "latest"]:
        result = subprocess.run(
            [BINARIES / program[0], *program[1:]],
            env={**os.environ, **guarded.environment, **settings(guarded, tmp_path, address)}, capture_output=True, text=True, timeout=300,
        )
        told = result.stderr.strip().splitlines()
        assert result.returncode == 2, f"{program}: {result.stderr}"
        assert said in told[-1] and "DATABASE_URL" in told[-1], told
        assert "a:b" not in result.stderr
