"""The LISA platform `type: sandbox`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, List, Type, Union, cast

from dataclasses_json import dataclass_json
from lisa import feature, schema, search_space
from lisa.environment import Environment
from lisa.feature import Feature
from lisa.node import Node, RemoteNode
from lisa.platform_ import Platform
from lisa.sut_orchestrator.ready import ReadyPlatform
from lisa.util import NotMeetRequirementException, constants
from lisa.util.logger import Logger

from lisa_container.errors import ConfigError
from lisa_container.platforms.sandbox.config import SandboxConfig
from lisa_container.platforms.sandbox.machine import require
from lisa_container.platforms.sandbox.sandbox import Sandbox, SandboxNode
