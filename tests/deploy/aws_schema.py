"""The AWS provider's schema, read from its published TypeScript bindings, and served to `terraform` as a provider that knows names
and types and does nothing: with it `terraform validate` and `terraform test` are the real ones, offline, without the provider
itself (some 700 MB). What it cannot know is what AWS would answer."""

import re
import tarfile
from concurrent import futures

import grpc

LINK = re.compile(r"#(\w+) \w+#\w+\}")
MEMBER = re.compile(r"/\*\*(?P<comment>.*?)\*/\s*readonly (?P<name>\w+)(?P<optional>\?)?: (?P<type>.*?);\n", re.DOTALL)
GETTER = re.compile(r"^ {4}get (\w+)\(\): (.+?);$", re.MULTILINE)


def snake(name):
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda upper: "_" + upper.group(1).lower(), name).lower()


class Bindings:
    """One file of bindings: a resource, a data source or the provider."""

    def __init__(self, text):
        # The thing itself; its configuration is the interface of that name and Config.
        self.name = re.search(r"^export declare class (\w+) extends cdktf\.Terraform(?:Resource|DataSource|Provider) ", text, re.MULTILINE).group(1)
        self.interfaces = dict(re.findall(r"^export interface (\w+)(?: extends [\w.]+)? \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL))
        self.classes = dict(re.findall(r"^export declare class (\w+) extends [\w.]+ \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL))

    def members(self, interface):
        for match in MEMBER.finditer(self.interfaces.get(interface, "")):
            comment, kind = match["comment"], re.sub(r"\s+", " ", match["type"])
            link, block = LINK.search(comment), re.search(r"^\s*\*\s+(\w+) block$", comment, re.MULTILINE)
            name = block.group(1) if block else link.group(1) if link else snake(match["name"])
            yield name, kind, not match["optional"], bool(block)

    def block(self, interface, output):
        """A schema's block: what may be written (the interface) and what can be read (the class)."""
        attributes, blocks = {}, {}
        for name, kind, required, is_block in self.members(interface):
            if is_block:
                inner = re.search(r"\b([A-Z]\w+)\b(?=\[\]| \||$)", kind).group(1)
                one = f"{inner}[]" not in kind
                blocks[name] = {"block": self.block(inner, f"{inner}OutputReference"), "one": one, "min": int(required)}
            else:
                attributes[name] = {"type": self.type(kind), "required": required, "write_only": name.endswith("_wo")}
        for name, kind in GETTER.findall(self.classes.get(output, "")):
            name = snake(name)
            if name not in attributes and name not in blocks and not name.endswith("_input") and name != "internal_value":
                attributes[name] = {"type": self.type(kind), "computed": True}
        return {"attributes": attributes, "blocks": blocks}

    def type(self, kind):
        kind = kind.replace(" | cdktf.IResolvable", "").replace(" | undefined", "").strip()
        plain = {"string": "string", "number": "number", "boolean": "bool", "cdktf.IResolvable": "bool", "any": "dynamic"}
        maps = {"cdktf.StringMap": "string", "cdktf.NumberMap": "number", "cdktf.BooleanMap": "bool"}
        if kind in plain:
            return plain[kind]
        if kind in maps or kind.startswith("{"):
            return ["map", maps.get(kind, "number" if "number" in kind else "string")]
        if kind.endswith("[]"):
            return ["list", self.type(kind[:-2].strip("()"))]
        name = re.sub(r"(List|Map|OutputReference)$", "", kind)
        getters = GETTER.findall(self.classes.get(f"{name}OutputReference", ""))
        fields = {snake(field): self.type(inner) for field, inner in getters if not field.endswith("Input") and field != "internalValue"}
        fields = fields or {field: self.type(inner) for field, inner, _, _ in self.members(name)}
        if not fields:
            return "dynamic"
        return ["list" if kind.endswith("List") else "map", ["object", fields]] if kind.endswith(("List", "Map")) else ["object", fields]


# The bindings have no ephemeral resources; this is the one that is used.
PASSWORD = {
    "attributes": {
        **{name: {"type": "bool"} for name in (
            "exclude_lowercase", "exclude_numbers", "exclude_punctuation", "exclude_uppercase", "include_space",
            "require_each_included_type")},
        "exclude_characters": {"type": "string"},
        "password_length": {"type": "number"},
        "random_password": {"type": "string", "computed": True},
    },
    "blocks": {},
}


def read(archive, resources, data):
    """The schemas of these resources and data sources; a name that the provider does not have is not among them."""
    wanted = {"package/lib/provider/index.d.ts": ("provider", "aws")}
    for kind, names, prefix in (("resource", resources, ""), ("data", data, "data-aws-")):
        for name in names:
            wanted[f"package/lib/{prefix}{name.removeprefix('aws_').replace('_', '-')}/index.d.ts"] = (kind, name)
    schemas = {"provider": None, "resource": {}, "data": {}, "ephemeral": {"aws_secretsmanager_random_password": PASSWORD}}
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name in wanted:
                kind, name = wanted[member.name]
                bindings = Bindings(tar.extractfile(member).read().decode())
                schema = bindings.block(f"{bindings.name}Config", bindings.name)
                if kind == "provider":
                    schemas[kind] = schema
                else:
                    schema["attributes"].setdefault("id", {"type": "string", "computed": True})
                    schemas[kind][name] = schema
    return schemas


# ---- the provider's side of Terraform's plugin protocol, version 5, as far as it is asked


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(int(value)) if value else b""


def text(number, value):
    return field(number, value.encode())


def encode_type(kind):
    import json
    return json.dumps(kind).encode()


def encode_block(block):
    out = b""
    for name, attribute in block["attributes"].items():
        required, computed = attribute.get("required", False), attribute.get("computed", False)
        write_only = attribute.get("write_only", False)
        out += field(2, text(1, name) + field(2, encode_type(attribute["type"])) + field(4, required)
                     + field(5, not required and not computed) + field(6, computed or not required and not write_only) + field(10, write_only))
    for name, nested in block["blocks"].items():
        single = name == "timeouts"
        out += field(3, text(1, name) + field(2, encode_block(nested["block"])) + field(3, 1 if single else 2)
                     + field(4, 0 if single else nested["min"]) + field(5, 0 if single else int(nested["one"])))
    return out


def encode_schemas(schemas):
    def schema(block):
        return field(2, encode_block(block))

    def table(number, blocks):
        return b"".join(field(number, text(1, name) + field(2, schema(block))) for name, block in blocks.items())

    return (field(1, schema(schemas["provider"])) + table(2, schemas["resource"]) + table(3, schemas["data"])
            + table(8, schemas["ephemeral"]))


class Provider:
    """Serves schemas on a port of this machine for as long as it is entered; `environment` is what points terraform at it."""

    def __init__(self, schemas):
        self.answers = {
            "GetSchema": lambda _: encode_schemas(schemas),
            # What comes in goes out: the first field of both is the configuration.
            "PrepareProviderConfig": lambda request: request,
        }

    def service(self, details):
        answer = self.answers.get(details.method.rsplit("/", 1)[1], lambda _: b"")
        known = ("GetSchema", "PrepareProviderConfig", "Configure", "Stop")
        method = details.method.rsplit("/", 1)[1]
        if method in known or method.startswith("Validate"):
            return grpc.unary_unary_rpc_method_handler(lambda request, _: answer(request))
        return None

    def __enter__(self):
        handler = type("Handler", (grpc.GenericRpcHandler,), {"service": lambda _, details: self.service(details)})()
        self.server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[handler])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop(0)

    def environment(self):
        import json
        import os
        attach = {"Protocol": "grpc", "ProtocolVersion": 5, "Pid": os.getpid(), "Test": True,
                  "Addr": {"Network": "tcp", "String": f"127.0.0.1:{self.port}"}}
        return {"TF_REATTACH_PROVIDERS": json.dumps({"hashicorp/aws": attach})}
