"""A certificate authority of the test's own, and certificates of it, as PEM files that Kafka, librdkafka and Postgres read."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def name(common):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


class Authority:
    def __init__(self, folder, common="test authority"):
        self.folder, self.name = folder, name(common)
        folder.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        extensions = [(x509.BasicConstraints(ca=True, path_length=0), True)]
        self.certificate = self._sign(self.name, self.key.public_key(), extensions)
        self.file = folder / "ca.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject, public_key, extensions):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, common, host=None):
        """The certificate of `common` in files: NAME.crt, NAME.key (PKCS 8), NAME.pem (both, key first, as Kafka wants them)."""
        key = ec.generate_private_key(ec.SECP256R1())
        extensions = [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), False)]
        if host:
            extensions.append((x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), False))
        certificate = self._sign(name(common), key.public_key(), extensions)
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        for ending, content in [("crt", pem), ("key", private), ("pem", private + pem)]:
            (self.folder / f"{common}.{ending}").write_bytes(content)
        return self.folder / f"{common}.crt", self.folder / f"{common}.key", self.folder / f"{common}.pem"
