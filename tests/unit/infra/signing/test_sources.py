"""MSGXC_SDK_KEYS: where signing keys come from, as the environment says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.configuration.environment import SettingsError
from infra.settings import load

SECRET = "projects/my-shop/secrets/sdk-keys"


def test_without_settings_the_data_folder_has_the_keys() -> None:
    """Nothing to set for a first start."""
    assert load({}).sdk_keys.is_unset


def test_keys_may_be_in_the_environment_without_showing() -> None:
    """No repr of the settings holds them."""
    settings = load({"MSGXC_SDK_KEYS": "5e" * 32})
    assert settings.sdk_keys.content is not None
    assert settings.sdk_keys.content.reveal() == "5e" * 32
    assert "5e5e" not in repr(settings)


def test_keys_may_be_in_a_file_or_a_folder(tmp_path: Path) -> None:
    """Its path is kept, not its content: it is read again when it changes."""
    assert load({"MSGXC_SDK_KEYS_FILE": str(tmp_path)}).sdk_keys.source == tmp_path


@pytest.mark.parametrize("name", [SECRET, "projects/123/locations/europe-west1/secrets/S_1"])
def test_keys_may_be_in_google_secret_manager(name: str) -> None:
    """Global and regional secrets."""
    assert load({"MSGXC_SDK_KEYS": f"gsm://{name}"}).sdk_keys.secret == name


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"MSGXC_SDK_KEYS": "gsm://my-secret"}, "write gsm://projects/my-project/secrets/my-secret"),
        ({"MSGXC_SDK_KEYS": f"gsm://{SECRET}/versions/1"}, "write gsm://projects"),
        ({"MSGXC_SDK_KEYS": f"gsm://{SECRET}?x"}, "write gsm://projects"),
        ({"MSGXC_SDK_KEYS": "gsm:../../x"}, "write gsm://projects"),
        ({"MSGXC_SDK_KEYS_FILE": "/nowhere"}, "there is no such file or folder"),
        ({"MSGXC_SDK_KEYS_FILE": "/", "MSGXC_SDK_KEYS": "5e" * 32}, "are both set: keep one of them"),
        ({"MSGXC_SDK_KEYS_URL": "ftp://x"}, "write a URL like https://secretmanager.googleapis.com"),
    ],
)
def test_a_wrong_source_says_what_to_write(variables: dict[str, str], says: str) -> None:
    """In one line, before anything starts."""
    with pytest.raises(SettingsError) as caught:
        load(variables)
    assert says in str(caught.value)
    assert "5e5e" not in str(caught.value)
