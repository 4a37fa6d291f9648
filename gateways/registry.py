"""The channels there are: every module of this package that has a `CHANNEL`. Nothing else lists them.

Importing a channel's module is cheap; its client library is imported by `build`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec

import gateways
from gateways.port import Channel, Gateway, GatewayConfig


def channels() -> dict[str, Channel]:
    """Every channel by its name, in the order of their names."""
    found = pkgutil.iter_modules(gateways.__path__)
    modules = sorted(
        module.name for module in found if not module.ispkg
    )  # packages are transports, dear to import
    offered = [channel for module in modules if (channel := _offered(module)) is not None]
    return {channel.name: channel for channel in offered}


def _offered(module: str) -> Channel | None:
    """The channel of a module, None when it is none or there is no such module."""
    if not module.isidentifier() or find_spec(f"gateways.{module}") is None:
        return None
    channel = getattr(import_module(f"gateways.{module}"), "CHANNEL", None)
    return channel if isinstance(channel, Channel) else None


def build(channel: str, config: GatewayConfig | Mapping[str, Any]) -> Gateway:
    """The gateway of a channel; a mapping is converted to the channel's own configuration.

    Raises ValueError with one line that says what is wrong.
    """
    offered = _offered(channel) or channels().get(channel)
    if offered is None:
        raise ValueError(f"no gateway for the channel {channel!r}; there are {', '.join(channels())}")
    if not isinstance(config, offered.config):
        try:
            config = msgspec.convert(config, offered.config)
        except msgspec.ValidationError as error:
            raise ValueError(f"{channel}: {error}") from None
    return offered.build(config)
