"""Package sources and connection settings of this machine's apt.

Nodes and virtual machines get their packages from the same sources, so this project contains no
mirror's address.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lisa_container.errors import PackageSourceError
from lisa_container.system import environment

_ONE_LINE = re.compile(
    r"^deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<rest>.+)$"
)
# apt options for the connection to a mirror and for the tolerated clock difference.
_CONNECTION = re.compile(
    r"^Acquire::(?:https?|ftp|Check-Valid-Until|Check-Date|Max-ValidTime|Retries|ForceIPv[46]|Languages)\b"
)
# Keyring of each distribution's archive. Other vendors sign their repositories with other keys.
_KEYRINGS = {"debian": "debian-archive-keyring", "ubuntu": "ubuntu-archive-keyring"}
_KEYRING_FOLDER = Path("/usr/share/keyrings")
_OS_RELEASE = Path("/etc/os-release")
_COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "universe")}
_POCKETS = ("", "-updates", "-security")


@dataclass(frozen=True)
class Source:
    """Package source for one release.

    Attributes:
        uri: URI of the archive.
        suite: suite of the archive, such as "bookworm" or "bookworm-updates".
        components: components of the archive, such as "main".
    """

    uri: str
    suite: str
    components: tuple[str, ...]


@dataclass(frozen=True)
class PackageSources:
    """Package sources of a root file system.

    Attributes:
        suite: the release.
        lines: lines for sources.list.
        options: apt options in mmdebstrap's form.
    """

    suite: str
    lines: tuple[str, ...]
    options: tuple[str, ...]


def package_sources(suite: str = "", mirror: str = "") -> PackageSources:
    """Return the package sources for a root file system.

    Args:
        suite: the release; empty means the machine's release.
        mirror: URL of the only source; empty means the machine's own sources of that release.

    Raises:
        PackageSourceError: this machine's apt configuration has no matching source.
    """
    distribution, machine_suite = _machine()
    if not distribution and not (suite and mirror):
        raise PackageSourceError(
            "this machine is neither Debian nor Ubuntu, so its package sources are unknown; give"
            " `suite` and `mirror`"
        )
    distribution = distribution or "debian"
    suite = suite or machine_suite
    components = _COMPONENTS[distribution]
    if mirror:
        sources = [Source(mirror, suite, components)]
    else:
        sources = _of_release(_sources(), distribution, suite, machine_suite)
    if not sources:
        raise PackageSourceError(
            f"/etc/apt has no source for {distribution} {suite}; add one, or give `mirror`"
        )
    # Newer releases use another file extension.
    files = [_KEYRING_FOLDER / f"{_KEYRINGS[distribution]}.{ending}" for ending in ("gpg", "pgp")]
    signed = next((f"[signed-by={file}] " for file in files if file.exists()), "")
    lines = [f"deb {signed}{each.uri} {each.suite} {' '.join(each.components)}" for each in sources]
    return PackageSources(suite, tuple(lines), tuple(_options()))


def _of_release(
    sources: list[Source], distribution: str, suite: str, machine_suite: str
) -> list[Source]:
    """Return the distribution's own sources of a release.

    A release other than the machine's comes from the machine's main archive.
    """
    wanted = [f"{machine_suite}{pocket}" for pocket in _POCKETS]
    result = []
    for source in sources:
        components = tuple(c for c in source.components if c in _COMPONENTS[distribution])
        if source.suite in wanted and components:
            if suite == machine_suite:
                result.append(Source(source.uri, source.suite, components))
            elif source.suite == machine_suite:
                result.append(Source(source.uri, suite, components))
    return result


def _machine() -> tuple[str, str]:
    """Return the machine's distribution and release: ("debian", "bookworm"); empty if unknown.

    For a derivative, this is the distribution that it is based on.
    """
    values = {}
    for line in _OS_RELEASE.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        values[name] = "".join(shlex.split(value))
    kinds = [values.get("ID", ""), *values.get("ID_LIKE", "").split()]
    distribution = next((kind for kind in kinds if kind in _KEYRINGS), "")
    names = (f"{distribution.upper()}_CODENAME", "VERSION_CODENAME")
    return distribution, next((values[name] for name in names if values.get(name)), "")


def _sources() -> list[Source]:
    """Return all sources of binary packages below /etc/apt."""
    folder = Path("/etc/apt/sources.list.d")
    files = [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.list"))]
    result = [source for file in files for source in one_line_sources(_text(file))]
    for file in sorted(folder.glob("*.sources")):
        result += deb822_sources(_text(file))
    return result


def one_line_sources(text: str) -> list[Source]:
    """Parse the one-line format of sources.list(5), without sources that have their own key."""
    result = []
    for line in text.splitlines():
        match = _ONE_LINE.match(line.partition("#")[0].strip())
        if match and _is_archive_key(_option(match["options"] or "", "signed-by")):
            uri = _resolve_mirror(match["uri"])
            result.append(Source(uri, match["suite"], tuple(match["rest"].split())))
    return result


def deb822_sources(text: str) -> list[Source]:
    """Parse the deb822 format of sources.list(5), without sources that have their own key."""
    result = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
                continue
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        if not _is_archive_key(fields.get("signed-by", "")):
            continue
        components = tuple(fields.get("components", "").split())
        for uri in fields.get("uris", "").split():
            suites = fields.get("suites", "").split()
            result += [Source(_resolve_mirror(uri), suite, components) for suite in suites]
    return result


def _is_archive_key(signed_by: str) -> bool:
    # Without Signed-By, apt trusts its own keyring, which is the archive's.
    return not signed_by or Path(signed_by).stem in _KEYRINGS.values()


def _resolve_mirror(uri: str) -> str:
    """Replace a `mirror+file:` URI, as cloud images have it, by the mirror in that file.

    The nodes do not have the file.
    """
    scheme, _, path = uri.partition("+file:")
    if scheme != "mirror":
        return uri
    listed = [line.split() for line in _text(Path("/" + path.lstrip("/"))).splitlines()]
    return next((words[0] for words in listed if words and not words[0].startswith("#")), uri)


def _option(options: str, name: str) -> str:
    for option in options.split():
        key, _, value = option.partition("=")
        if key.lower() == name:
            return value
    return ""


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _options() -> list[str]:
    """Return the machine's apt options for mirrors; none if it has no apt."""
    try:
        done = subprocess.run(
            ["apt-config", "dump"], capture_output=True, text=True, env=environment(), check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    return connection_options(done.stdout)


def connection_options(dump: str) -> list[str]:
    """Return the options for mirrors: proxies, certificates, clock checks.

    Args:
        dump: output of `apt-config dump`.
    """
    lines = [line.rstrip(";") for line in dump.splitlines()]
    return [line for line in lines if _CONNECTION.match(line) and '""' not in line]
