"""The documented command: a sink is paused, its group is set back, it reads everything again, and nothing is twice. The sources
are stopped meanwhile, so that the audit at its end is of every record and not of all but the last minutes'."""

import subprocess
import time

import pytest
from cluster import ROOT, say, sources_stopped

KAFKA = "/opt/kafka/bin/kafka-consumer-groups.sh"


@pytest.fixture(scope="module")
def still(installation):
    with sources_stopped():
        yield


@pytest.mark.parametrize("sink", ["consumer-db", "consumer-lake"])
def test_a_sink_reads_everything_again(still, sink):
    began = time.monotonic()
    command = ["k8s/replay.sh", "--in", "statefulset/kafka", sink, KAFKA, "--bootstrap-server", "kafka:9092", "--group", sink,
               "--topic", "market.ticks.v1", "--reset-offsets", "--to-earliest", "--execute"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout + result.stderr
    rewound = [line.split() for line in result.stdout.splitlines() if line.startswith(sink)]
    assert rewound and {int(row[3]) for row in rewound} == {0}, result.stdout
    [verdict] = [line for line in result.stdout.splitlines() if line.startswith("EQUAL")]
    say(f"{sink}: {len(rewound)} partitions set back to 0, read again and audited in {time.monotonic() - began:.0f} s: {verdict}")


def test_a_command_that_fails_gives_the_sink_back(still):
    result = subprocess.run(["k8s/replay.sh", "consumer-db", "false"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1 and "consumer-db: back to 1" in result.stderr
