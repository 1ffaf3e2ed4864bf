"""How a machine reaches packages: its proxies, certificates, indexes and credentials for them.

They are lent to a container for the time of an installation. Nothing of the container's own is
overwritten: they lie in a folder in its memory (`/dev/shm`, a tmpfs in every container), which the
managers are pointed to by environment variables, and which goes when the installation ends. So
nothing of them can be in a layer.

Only what says where packages are and how to get there is taken (see the tables below); what else a
machine has in such a file (where to install to, which cache, local folders) means nothing in a
container.
"""

from __future__ import annotations

import base64
import configparser
import io
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from lisa.node import Node

from lisa_container.engine.naming import node_name
from lisa_container.errors import EngineError
from lisa_container.install.masking import secrets_in

FOLDER = "{folder}"
"""Stands in values for the folder where the files will be."""

# Environment variables that are taken as they are.
_VARIABLES = re.compile(
    r"(?:https?|ftp|all|no)_proxy"
    r"|PIP_(?:INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|PROXY|TIMEOUT|DEFAULT_TIMEOUT|RETRIES)"
    r"|npm_config_(?:registry|proxy|https_proxy|noproxy|strict_ssl|//.*)"
    r"|GO(?:PROXY|NOPROXY|SUMDB|NOSUMDB|PRIVATE|INSECURE)"
    r"|CARGO_(?:REGISTRIES_\w+_(?:INDEX|TOKEN)|HTTP_PROXY)",
    re.IGNORECASE,
)
# Options of pip.conf(5) that say where an index is and how to reach it.
_PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
# Keys of npmrc(5), and `//host/path/:_authToken` with its kin.
_NPM_KEY = re.compile(r"registry|@[^:\s]+:registry|(?:https-)?proxy|noproxy|strict-ssl|//\S+:_?\w+")
# Options of apt.conf(5).
_APT_OPTION = re.compile(
    r"Acquire::(?:https?|ftp|Check-Valid-Until|Check-Date|Max-ValidTime|ForceIPv[46])\b"
)
# Where a machine's trusted certificates are, by kind of distribution, as Go's crypto/x509 has them.
_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
# What points the managers to other certificates.
_CERTIFICATE_VARIABLES = (
    "SSL_CERT_FILE",  # OpenSSL, and so gem, dnf, apk; Go
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
)

# Prints each file that there is, and what is no file, as `<what> <base64>`. Of the certificates
# only the path: there are many, and a terminal is slow.
_LOOK = r"""
show() { printf '%s ' "$1"; base64 | tr -d '\n'; echo; }
env | show environment
command -v apt-config >/dev/null && apt-config dump 2>/dev/null | show apt.conf
for file in /etc/apt/auth.conf /etc/apt/auth.conf.d/*.conf; do
    [ -r "$file" ] && show auth.conf <"$file"
done
for file in /etc/pip.conf /etc/xdg/pip/pip.conf "$HOME/.pip/pip.conf" \
    "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf" "${PIP_CONFIG_FILE:-}"; do
    [ -f "$file" ] && show pip.conf <"$file"
done
for file in /etc/npmrc /usr/etc/npmrc "${NPM_CONFIG_USERCONFIG:-$HOME/.npmrc}"; do
    [ -f "$file" ] && show npmrc <"$file"
done
for file in "$HOME/.gemrc" /etc/gemrc; do
    [ -f "$file" ] && show gemrc <"$file" && break
done
cargo=${CARGO_HOME:-$HOME/.cargo}
for file in "$cargo/config.toml" "$cargo/config"; do
    [ -f "$file" ] && show cargo.toml <"$file" && break
done
for file in "${SSL_CERT_FILE:-}" CERTIFICATES; do
    [ -f "$file" ] && printf %s "$file" | show certificates && break
done
:
""".replace("CERTIFICATES", " ".join(_CERTIFICATES))


@dataclass(frozen=True)
class PackageSettings:
    """Settings for package managers. Its `repr` shows no values: there are passwords in them.

    Attributes:
        environment: variables for the managers. `FOLDER` in a value stands for the files' folder.
        files: name to content, in a folder of their own.
        origin: whose they are, for messages.
    """

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    origin: str = "given"

    @classmethod
    def none(cls) -> PackageSettings:
        """None at all: the container has what it needs."""
        return cls(origin="none")

    @classmethod
    def of_node(cls, node: Node) -> PackageSettings:
        """Those of a node, as the user has them as whom LISA is logged in.

        Raises:
            EngineError: the node could not be asked.
        """
        # What it prints is in no log.
        result = node.execute(
            _LOOK, shell=True, no_info_log=True, no_error_log=True, no_debug_log=True
        )
        if result.exit_code != 0:
            raise EngineError(
                f"node '{node_name(node)}' does not tell its settings for packages (exit code "
                f"{result.exit_code}). Pass settings=PackageSettings.none() to do without."
            )

        def fetch(path: str) -> bytes:
            with tempfile.TemporaryDirectory() as folder:
                local = Path(folder) / "certificates.pem"
                node.shell.copy_back(node.get_pure_path(path), local)
                return local.read_bytes()

        return cls._from(result.stdout, fetch, f"node '{node_name(node)}'")

    @classmethod
    def of_runner(cls) -> PackageSettings:
        """Those of this machine. Not the default: its credentials would go to every node."""
        done = subprocess.run(["sh", "-c", _LOOK], capture_output=True, text=True, check=True)
        return cls._from(done.stdout, lambda path: Path(path).read_bytes(), "this machine")

    @property
    def secrets(self) -> frozenset[str]:
        """The passwords and tokens in it."""
        texts = [*self.environment.values()]
        texts += [f"{name}={value}" for name, value in self.environment.items()]
        texts += [
            data.decode(errors="replace")
            for name, data in self.files.items()
            if name != "certificates.pem"
        ]
        found = {secret for text in texts for secret in secrets_in(text)}
        found |= {
            value for name, value in self.environment.items() if name.upper().endswith("_TOKEN")
        }
        return frozenset(found)

    def with_variables_of(self, environment: Mapping[str, str]) -> PackageSettings:
        """These and the variables of another environment that say how to reach packages, which win.

        Args:
            environment: of a container, say.
        """
        found = {name: value for name, value in environment.items() if _VARIABLES.fullmatch(name)}
        return PackageSettings({**self.environment, **found}, self.files, self.origin)

    @classmethod
    def _from(cls, said: str, fetch: Callable[[str], bytes], origin: str) -> PackageSettings:
        texts: dict[str, list[str]] = {}
        for line in said.splitlines():
            what, _, data = line.partition(" ")
            texts.setdefault(what, []).append(base64.b64decode(data).decode(errors="replace"))
        environment = _environment("\n".join(texts.get("environment", [])))
        files: dict[str, bytes] = {}

        def add(name: str, content: str, variable: str) -> None:
            if content:
                files[name] = content.encode()
                environment[variable] = f"{FOLDER}/{name}"

        add("pip.conf", pip_settings(texts.get("pip.conf", [])), "PIP_CONFIG_FILE")
        add("npmrc", npm_settings("\n".join(texts.get("npmrc", []))), "NPM_CONFIG_USERCONFIG")
        add("gemrc", gem_settings("\n".join(texts.get("gemrc", []))), "GEMRC")
        add("cargo.toml", "\n".join(texts.get("cargo.toml", [])), "LISA_CONTAINER_CARGO_CONFIG")
        apt = apt_settings("\n".join(texts.get("apt.conf", [])))
        if "auth.conf" in texts:
            files["auth.conf"] = "\n".join(texts["auth.conf"]).encode()
            apt += f'Dir::Etc::netrc "{FOLDER}/auth.conf";\n'
        for path in texts.get("certificates", []):
            files["certificates.pem"] = fetch(path)
            apt += f'Acquire::https::CAInfo "{FOLDER}/certificates.pem";\n'
            for variable in _CERTIFICATE_VARIABLES:
                environment[variable] = f"{FOLDER}/certificates.pem"
        add("apt.conf", apt, "APT_CONFIG")
        return cls(environment, files, origin)


def _environment(dump: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in dump.splitlines())
    return {name: value for name, _, value in pairs if value and _VARIABLES.fullmatch(name)}


def pip_settings(texts: list[str]) -> str:
    """One pip.conf of several, the later ones winning, with what is of use in a container."""
    merged: dict[str, str] = {}
    for text in texts:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(text)
        except configparser.Error:
            continue  # pip refuses it as well
        for section in ("global", "install"):
            if not parser.has_section(section):
                continue
            for option, value in parser.items(section):
                # Indexes in a local folder are none in a container.
                words = [word for word in value.split() if not word.startswith(("file:", "/"))]
                if option in _PIP_OPTIONS and words:
                    merged[option] = "\n    ".join(words)
    if not merged:
        return ""
    out = io.StringIO()
    out.write("[global]\n")
    for option, value in merged.items():
        out.write(f"{option} = {value}\n")
    return out.getvalue()


def npm_settings(text: str) -> str:
    """The lines of an npmrc that say where the registry is and how to reach it."""
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if _NPM_KEY.fullmatch(line.partition("=")[0].strip())]
    return "".join(f"{line}\n" for line in kept)


def gem_settings(text: str) -> str:
    """The sources in a gemrc."""
    match = re.search(r"^:?sources:[^\n]*\n(?:[ \t]*-[^\n]*\n?)*", text, re.MULTILINE)
    return f"---\n{match[0].rstrip()}\n" if match else ""


def apt_settings(dump: str) -> str:
    """The options of `apt-config dump` that say how to reach an archive."""
    lines = [line for line in dump.splitlines() if _APT_OPTION.match(line) and '""' not in line]
    # Certificates are lent as a bundle; a path of the machine's own means nothing elsewhere.
    kept = [line for line in lines if not re.search(r"::(?:CaInfo|CaPath|Ssl\w+)\b", line, re.I)]
    return "".join(f"{line}\n" for line in kept)
