"""LISA's own OpenSSL suite, for guest.yml. It is part of mslisa."""

import lisa.microsoft.testsuites.security.openssl  # noqa: F401

# A guest's type is found among the classes that were imported.
import lisa_container  # noqa: F401
