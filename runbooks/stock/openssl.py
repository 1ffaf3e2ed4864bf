"""Import of LISA's own OpenSSL suite for guest.yml. The suite is part of mslisa."""

import lisa.microsoft.testsuites.security.openssl  # noqa: F401

# LISA finds a guest's type only if its class was imported.
import lisa_container  # noqa: F401
