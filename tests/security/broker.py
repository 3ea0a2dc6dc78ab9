"""A Kafka broker that trusts nobody: TLS on every listener; SCRAM, client certificates or tokens; ACLs for all."""

import base64
import json
import os
import subprocess
import threading
import time
import uuid
from pathlib import Path

from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, AdminClient, ResourcePatternType, ResourceType

from documented import acls
from services import free_port, wait_until

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tickstream"
# Of the users that docs/security.md has ACLs for, and of those that the broker itself and the test are.
PASSWORDS = {}
# A token lives so many seconds, and is renewed in its file so often. Nobody may show one for longer than that.
TOKEN_LIVES, TOKEN_EVERY = 30, 5


def password(user):
    return PASSWORDS.setdefault(user, f"{user}-{uuid.uuid4().hex}")


def java(*arguments):
    jars = next(CACHE.glob("kafka-*/pom.xml")).parent
    home = os.environ.get("JAVA_HOME")
    return [f"{home}/bin/java" if home else "java", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars}/*", *arguments]


def token(user):
    """A JWT that nobody signed, which Kafka's own validator for development takes."""
    claims = {"sub": user, "iat": time.time(), "exp": time.time() + TOKEN_LIVES}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)]
    return ".".join([*parts, ""])


class Broker:
    def __init__(self, folder, authority, users):
        self.folder, self.authority = folder, authority
        folder.mkdir()
        self.scram, self.tls, self.token, controller = (free_port() for _ in range(4))
        _, _, keystore = authority.issue("broker", host="127.0.0.1")
        self.certificates = {user: authority.issue(user)[:2] for user in [*users, "admin"]}
        properties = folder / "server.properties"
        properties.write_text(f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=SASL_SSL://127.0.0.1:{self.scram},SSL://127.0.0.1:{self.tls},TOKEN://127.0.0.1:{self.token},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=SASL_SSL://127.0.0.1:{self.scram},SSL://127.0.0.1:{self.tls},TOKEN://127.0.0.1:{self.token}
listener.security.protocol.map=SASL_SSL:SASL_SSL,SSL:SSL,TOKEN:SASL_SSL,CONTROLLER:SSL
controller.listener.names=CONTROLLER
inter.broker.listener.name=SSL
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={authority.file}
ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=([^,]*).*$/$1/
listener.name.sasl_ssl.ssl.client.auth=none
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.token.ssl.client.auth=none
listener.name.token.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.token.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
listener.name.token.oauthbearer.connections.max.reauth.ms={TOKEN_LIVES * 1000}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:broker;User:admin
allow.everyone.if.no.acl.found=false
log.dirs={folder}/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
""")
        cluster = base64.urlsafe_b64encode(b"t" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        scram = [part for user in [*users, "admin"] for part in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password(user)}]")]
        format_ = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster, *scram, "--config", properties]
        done = subprocess.run(java("-Xmx256m", *map(str, format_)), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        self.log = (folder / "broker.log").open("wb")
        self.process = subprocess.Popen(java("-Xmx512m", "kafka.Kafka", str(properties)), stdout=self.log, stderr=self.log)
        self.closed = threading.Event()
        self.users = users
        self.renew()
        threading.Thread(target=self.keep_renewing, daemon=True).start()
        self.admin = AdminClient({**self.settings("admin", "scram"), "log_level": 0})
        try:
            wait_until("the broker", self.answers, patience=300)
            self.allow()
        except BaseException:
            self.process.kill()
            raise

    def answers(self):
        assert self.process.poll() is None, (self.folder / "broker.log").read_text()[-3000:]
        try:
            return self.admin.list_topics(timeout=2).brokers
        except Exception:
            return None

    def allow(self):
        """What docs/security.md says, and nothing else."""
        bindings = [
            AclBinding(ResourceType[kind], name, ResourcePatternType[pattern], f"User:{user}", "*", AclOperation[operation], AclPermissionType.ALLOW)
            for user, kind, name, pattern, operation in acls()
        ]
        for made in self.admin.create_acls(bindings, request_timeout=30).values():
            made.result()

    def settings(self, user, way, authority=None):
        """How `user` comes in: what KAFKA_PROPERTIES has, and the address."""
        common = {"ssl.ca.location": str((authority or self.authority).file)}
        if way == "scram":
            return {
                "bootstrap.servers": f"127.0.0.1:{self.scram}", "security.protocol": "SASL_SSL", "sasl.mechanisms": "SCRAM-SHA-512",
                "sasl.username": user, "sasl.password": password(user), **common,
            }
        if way == "token":
            return {
                "bootstrap.servers": f"127.0.0.1:{self.token}", "security.protocol": "SASL_SSL", "sasl.mechanisms": "OAUTHBEARER",
                "sasl.oauthbearer.config": f"file={self.folder / user}.token", **common,
            }
        certificate, key = self.certificates[user]
        return {
            "bootstrap.servers": f"127.0.0.1:{self.tls}", "security.protocol": "SSL",
            "ssl.certificate.location": str(certificate), "ssl.key.location": str(key), **common,
        }

    def renew(self):
        """Each user's token in a file, as an agent beside the program would keep it."""
        for user in self.users:
            part = self.folder / f"{user}.part"
            part.write_text(token(user))
            part.rename(self.folder / f"{user}.token")

    def keep_renewing(self):
        while not self.closed.wait(TOKEN_EVERY):
            self.renew()

    def close(self):
        self.closed.set()
        self.process.terminate()
        self.process.wait(timeout=60)
        self.log.close()
