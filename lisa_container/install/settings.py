"""Settings of a machine for reaching packages: proxies, certificates, indexes and credentials.

A container gets them only during an installation. They are in a folder in `/dev/shm`, a tmpfs in
every container, and environment variables point the managers to it. So they replace no file of the
container, and no layer can contain them.

Only settings about the location of packages and the way to it are used (see the tables below).
Other settings of a machine, such as cache folders, have no meaning in a container.
"""

from __future__ import annotations

import base64
import configparser
import io
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from lisa.node import Node

from lisa_container.engine.script import run_script
from lisa_container.errors import EngineError
from lisa_container.masking import secret_values, secrets_in
from lisa_container.naming import node_name

FOLDER = "{folder}"
"""Placeholder in values for the folder of the files."""

# Environment variables that are copied.
_VARIABLES = re.compile(
    r"(?:https?|ftp|all|no)_proxy"
    r"|PIP_(?:INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|PROXY|TIMEOUT|DEFAULT_TIMEOUT|RETRIES)"
    r"|npm_config_(?:registry|proxy|https_proxy|noproxy|strict_ssl|//.*)"
    r"|GO(?:PROXY|NOPROXY|SUMDB|NOSUMDB|PRIVATE|INSECURE)"
    r"|CARGO_(?:REGISTRIES_\w+_(?:INDEX|TOKEN)|HTTP_PROXY)",
    re.IGNORECASE,
)
# Options of pip.conf for the location of an index and the connection to it.
_PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
# Keys of npmrc(5), including credentials such as `//host/path/:_authToken`.
_NPM_KEY = re.compile(r"registry|@[^:\s]+:registry|(?:https-)?proxy|noproxy|strict-ssl|//\S+:_?\w+")
# Options of apt.conf(5).
_APT_OPTION = re.compile(
    r"Acquire::(?:https?|ftp|Check-Valid-Until|Check-Date|Max-ValidTime|ForceIPv[46])\b"
)
# Files with trusted certificates in different distributions; the list is from Go's crypto/x509.
_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
# Environment variables that point the managers to other certificates.
_CERTIFICATE_VARIABLES = (
    "SSL_CERT_FILE",  # OpenSSL, so also gem, dnf and apk; Go
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
)

# Prints the environment and each existing file as `<name> <base64>`. For the certificates, it
# prints only the path, because they are large and a terminal is slow.
_PROBE = r"""
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
    """Settings for package managers. The `repr` shows no values, because they contain passwords.

    Attributes:
        environment: variables for the managers. `FOLDER` in a value stands for the files' folder.
        files: content of each file by its name.
        origin: source of the settings, for messages.
    """

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    origin: str = "given"

    @classmethod
    def none(cls) -> PackageSettings:
        """Return empty settings, for a container that needs none."""
        return cls(origin="none")

    @classmethod
    def of_node(cls, node: Node) -> PackageSettings:
        """Return the settings of a node, as LISA's user has them there.

        Raises:
            EngineError: the settings could not be read.
        """
        # The output contains credentials, and a script's output is not logged.
        result = run_script(node, _PROBE)
        if result.exit_code != 0:
            raise EngineError(
                f"node '{node_name(node)}': the package settings could not be read (exit code "
                f"{result.exit_code}). Pass settings=PackageSettings.none() to use none."
            )

        def fetch(path: str) -> bytes:
            return run_script(node, f"cat {shlex.quote(path)}").stdout_bytes

        return cls._from(result.stdout, fetch, f"node '{node_name(node)}'")

    @classmethod
    def of_runner(cls) -> PackageSettings:
        """Return the settings of this machine.

        They are not the default, because its credentials would go to every node.
        """
        done = subprocess.run(["sh", "-c", _PROBE], capture_output=True, text=True, check=True)
        return cls._from(done.stdout, lambda path: Path(path).read_bytes(), "this machine")

    @property
    def secrets(self) -> frozenset[str]:
        """Passwords and tokens in the settings."""
        texts = [*self.environment.values()]
        texts += [f"{name}={value}" for name, value in self.environment.items()]
        texts += [
            data.decode(errors="replace")
            for name, data in self.files.items()
            if name != "certificates.pem"
        ]
        secrets = {secret for text in texts for secret in secrets_in(text)}
        return frozenset(secrets) | secret_values(self.environment)

    def with_variables_of(self, environment: Mapping[str, str]) -> PackageSettings:
        """Return these settings, overridden by the package variables of another environment.

        Args:
            environment: for example the environment of a container. Other variables are ignored.
        """
        own = {name: value for name, value in environment.items() if _VARIABLES.fullmatch(name)}
        return PackageSettings({**self.environment, **own}, self.files, self.origin)

    @classmethod
    def _from(cls, output: str, fetch: Callable[[str], bytes], origin: str) -> PackageSettings:
        texts: dict[str, list[str]] = {}
        for line in output.splitlines():
            what, _, data = line.partition(" ")
            texts.setdefault(what, []).append(base64.b64decode(data).decode(errors="replace"))
        environment = _environment("\n".join(texts.get("environment", [])))
        files: dict[str, bytes] = {}

        def add(name: str, content: str, variable: str) -> None:
            if content:
                files[name] = content.encode()
                environment[variable] = f"{FOLDER}/{name}"

        add("pip.conf", filter_pip_config(texts.get("pip.conf", [])), "PIP_CONFIG_FILE")
        add("npmrc", filter_npm_config("\n".join(texts.get("npmrc", []))), "NPM_CONFIG_USERCONFIG")
        add("gemrc", filter_gem_config("\n".join(texts.get("gemrc", []))), "GEMRC")
        add("cargo.toml", "\n".join(texts.get("cargo.toml", [])), "LISA_CONTAINER_CARGO_CONFIG")
        apt = filter_apt_config("\n".join(texts.get("apt.conf", [])))
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


def filter_pip_config(texts: list[str]) -> str:
    """Merge several pip.conf files into one with the settings that are useful in a container.

    Later files override earlier ones.
    """
    merged: dict[str, str] = {}
    for text in texts:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(text)
        except configparser.Error:
            continue  # pip rejects this file too
        for section in ("global", "install"):
            if not parser.has_section(section):
                continue
            for option, value in parser.items(section):
                # An index in a local folder does not exist in a container.
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


def filter_npm_config(text: str) -> str:
    """Return the lines of an npmrc for the registry and the connection to it."""
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if _NPM_KEY.fullmatch(line.partition("=")[0].strip())]
    return "".join(f"{line}\n" for line in kept)


def filter_gem_config(text: str) -> str:
    """Return the sources in a gemrc."""
    match = re.search(r"^:?sources:[^\n]*\n(?:[ \t]*-[^\n]*\n?)*", text, re.MULTILINE)
    return f"---\n{match[0].rstrip()}\n" if match else ""


def filter_apt_config(dump: str) -> str:
    """Return the options of `apt-config dump` for the connection to an archive."""
    lines = [line for line in dump.splitlines() if _APT_OPTION.match(line) and '""' not in line]
    # The certificates come as one bundle; paths on the machine do not exist in the container.
    kept = [line for line in lines if not re.search(r"::(?:CaInfo|CaPath|Ssl\w+)\b", line, re.I)]
    return "".join(f"{line}\n" for line in kept)
