"""Payload styles: the form in which an app's messages reach the SDK on the device, one module for each SDK.

Pure: what the message says and whom it goes to in, a JSON document out. Nothing here sends, and nothing knows a
provider's headers.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateways.styles.doppler import Doppler
from gateways.styles.emarsys_v3 import EmarsysV3
from gateways.styles.emarsys_v4 import EmarsysV4
from gateways.styles.sheet import Style

STYLES: Mapping[str, Style] = {
    "emarsys-v3": EmarsysV3(),
    "emarsys-v4": EmarsysV4(),
    "doppler": Doppler(),
}
"""By the name that apps are configured with. One that is not here (`msgxc`) has the exchange's own form, which each
gateway owns."""
