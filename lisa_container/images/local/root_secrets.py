"""Secret files in a node's root file system, for all distributions.

Names are patterns of GNU tar: `*` also matches slashes, and paths begin with `./`. In addition,
files with private keys in PEM are found by their content, where services keep settings.
"""

from __future__ import annotations

import itertools

# Folders that are kept without their content.
_CONTENTS = (
    # folders of users
    *("home", "root"),
    # copies of secrets
    *("var/backups", "var/log/journal", "var/log/installer", "var/log/anaconda"),
    # keys of TLS, of entitlements, of disks
    *("etc/ssl/private", "etc/pki/*/private", "etc/pki/private", "etc/private"),
    *("etc/pki/entitlement*", "etc/pki/consumer", "etc/rhsm/*.d", "etc/cryptsetup-keys.d"),
    *(f"etc/letsencrypt/{name}" for name in ("accounts", "archive", "keys", "live")),
    *("etc/acme", "var/lib/acme", "etc/keys", "etc/luks*"),
    # networks: radio, tunnels
    *("etc/wpa_supplicant", "etc/NetworkManager/system-connections", "var/lib/iwd", "etc/netplan"),
    *("etc/wireguard", "etc/openvpn", "etc/ipsec.d/private", "etc/tinc"),
    *(f"etc/swanctl/{name}" for name in ("private", "rsa", "ecdsa", "pkcs8", "pkcs12")),
    # engines and clusters
    *("etc/docker", "etc/containers/certs.d", "etc/kubernetes", "var/lib/kubelet", "var/lib/etcd"),
    *("etc/rancher", "var/lib/rancher"),
    # data that a cloud gives to a machine
    *("var/lib/cloud", "etc/cloud/cloud.cfg.d", "var/lib/waagent", "var/lib/amazon"),
    *("var/lib/google*", "var/snap/amazon-ssm-agent"),
    # directories of users and machines
    *("etc/sssd", "var/lib/sss", "var/lib/samba/private", "etc/krb5kdc", "var/lib/krb5kdc"),
    *("var/kerberos/krb5kdc", "etc/credstore*", "usr/lib/credstore*", "var/lib/snmp"),
    "etc/apt/auth.conf.d",
)

_PATHS = (
    # files of passwords, their locks and backups
    *("etc/*shadow*", "etc/passwd[-.~+]*", "etc/.passwd*", "etc/security/opasswd*"),
    *("etc/ssh/ssh_host_*", "etc/ssh/*_key", "etc/ppp/*-secrets", "etc/ipsec.secrets"),
    *("etc/apt/auth.conf", "etc/npmrc", "usr/etc/npmrc", "etc/boto.cfg"),
    "etc/containers/auth.json",
    *("etc/mysql/debian.cnf", "etc/*ldap.secret", "etc/nslcd.conf", "etc/samba/smbpasswd"),
    *("etc/*sasl_passwd*", "etc/exim4/passwd.client", "etc/chrony*keys", "etc/ntp*keys"),
    *("etc/bind/*.key", "var/log/cloud-init*", "var/log/waagent*", "etc/pki/nssdb/key?.db"),
    *("var/lib/systemd/credential.secret", "var/lib/systemd/random-seed"),
    *("swapfile*", "swap.img", "var/swap*", "swap/*"),
)

# Shells, and other programs into which users type passwords.
_SHELLS = (
    *("ash", "bash", "fish", "ksh", "sh", "zsh", "lua", "mongo", "mysql", "node_repl", "octave"),
    *("psql", "python", "rediscli", "scapy", "sqlite", "units"),
)
_BACKUPS = ("-", "~", ".bak", ".old", ".orig", ".save", ".rpmsave", ".rpmnew", ".dpkg-old")

# Files and folders of these names in any place: homes need not be below /home.
_NAMES = (
    *map("".join, itertools.product(("passwd", "shadow", "gshadow"), _BACKUPS)),
    *(".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".password-store", ".terraform.d"),
    *(".config/gcloud", ".config/gh", ".config/containers", ".config/rclone", ".oci"),
    *(".netrc", "_netrc", ".pgpass", ".my.cnf", ".mylogin.cnf", ".git-credentials", ".vault-token"),
    *(
        ".npmrc",
        ".yarnrc.yml",
        ".pypirc",
        ".gem/credentials",
        ".cargo/credentials*",
        ".m2/settings*.xml",
    ),
    *(".s3cfg", ".boto", ".smbcredentials", ".cifscredentials", ".htpasswd", ".rhosts"),
    *(f".{name}_history" for name in _SHELLS),
    *(".history", ".histfile", ".zhistory", ".lesshst", ".viminfo", ".Xauthority"),
    *("*.keytab", "secrets.tdb", "passdb.tdb", "rndc.key", "id_rsa", "id_ecdsa", "id_ed25519"),
    *("id_dsa", "*.kdbx", "*.p12", "*.pfx", "*.jks", "*.ppk"),
)

EXCLUDED = (
    *(f"--exclude=./{path}/*" for path in _CONTENTS),
    *(f"--exclude=./{path}" for path in _PATHS),
    *(f"--exclude={name}" for name in _NAMES),
)
"""Options of GNU tar that leave these files out of an archive of `.`."""

# Blocks of 512 bytes. Keys are smaller, so larger files need not be read.
_LARGEST_KEY = 256

FIND_SECRETS = rf"""(
    cd /
    find ./etc ./usr/local/etc ./opt ./srv ./var/lib ./var/spool ./var/www -xdev \
        \( -path ./var/lib/docker -o -path ./var/lib/containerd -o -path ./var/lib/containers \) \
        -prune -o -type f -size -{_LARGEST_KEY} \
        -exec grep -lE '^-----BEGIN ([A-Z]+ )*PRIVATE KEY|^PuTTY-User-Key-' {{}} + 2>/dev/null || :
    sed -n '2,$s,^\(/[^ ]*\) .*,.\1,p' /proc/swaps
)"""
"""Command for `sh` that prints the paths of files with a private key and of swap files in use, for
tar's `--exclude-from`."""
