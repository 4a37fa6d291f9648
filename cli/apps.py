"""`msgxc apps`: apps and web domains; list, show, register, change, retire, refresh.

Reads the log itself, so it answers right whether or not anything serves.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from cli import options
from cli.console import Failure, confirm, note, print_json, print_rows, progress
from cli.examples import examples
from cli.session import Session, begun_session, run_async
from domain.context import DEFAULT_REALM, Context

if TYPE_CHECKING:
    from cli.bootstrap import Exchange
    from domain.app import App
    from domain.app_settings import AppSettings
    from domain.errors import Invalid

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Apps and web domains.")

NAME = "msgxc apps"
SUBJECTS_PAGE = 500

Code = Annotated[
    str,
    typer.Argument(
        parser=options.app_code, metavar="CODE", help="The app's code; the case of its letters is nothing."
    ),
]
Realm = Annotated[
    str,
    typer.Option(parser=options.realm, metavar="<str>", help="Of which tenant (an Emarsys merchant is one)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON.")]
SettingsFile = Annotated[
    str,
    typer.Option(
        "--settings", metavar="FILE", help="Settings as JSON, as `show --json` has them; - is stdin."
    ),
]
Name = Annotated[str | None, typer.Option(help="For people.")]
Kind = Annotated[str | None, typer.Option(help="app or web-domain.")]


@app.command(name="list", epilog=examples("msgxc apps list", "msgxc apps list --realm acme --retired --json"))
def list_(
    realm: Realm = DEFAULT_REALM,
    retired: Annotated[bool, typer.Option("--retired", help="The retired ones, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """A realm's apps, by code."""
    run_async(_list(realm, retired=retired, as_json=as_json))


@app.command(epilog=examples("msgxc apps show DEMO-APP", "msgxc apps show DEMO-APP --json > demo-app.json"))
def show(code: Code, realm: Realm = DEFAULT_REALM, as_json: AsJson = False) -> None:
    """All settings of an app."""
    run_async(_show(code, realm, as_json=as_json))


@app.command(
    epilog=examples(
        "msgxc apps register SHOP-APP --name 'Our shop'",
        "msgxc apps register shop.example.org --kind web-domain",
        "msgxc apps register SHOP-APP --realm acme --settings shop-app.json",
        'echo \'{"geofences": {"groups": []}}\' | msgxc apps register SHOP-APP --settings -',
    )
)
def register(
    code: Code,
    settings: SettingsFile = "",
    name: Name = None,
    kind: Kind = None,
    realm: Realm = DEFAULT_REALM,
) -> None:
    """Register an app. Its code belongs to the realm for ever."""
    run_async(_register(code, realm, _given(settings, name=name, kind=kind)))


@app.command(
    epilog=examples(
        "msgxc apps change SHOP-APP --name 'Our new shop'",
        "msgxc apps change SHOP-APP --settings geofences.json",
        "echo '{\"anonymous_allowed\": false}' | msgxc apps change SHOP-APP --settings -",
    )
)
def change(
    code: Code,
    settings: SettingsFile = "",
    name: Name = None,
    kind: Kind = None,
    realm: Realm = DEFAULT_REALM,
) -> None:
    """Change an app.

    The settings that are given change, each as a whole; the others stay.
    """
    run_async(_change(code, realm, _given(settings, name=name, kind=kind)))


@app.command(epilog=examples("msgxc apps retire SHOP-APP --yes"))
def retire(
    code: Code,
    realm: Realm = DEFAULT_REALM,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Retire an app for good: devices are told that there is none."""
    if not yes:
        confirm(f"Retire {code} in realm {realm}? Its devices are cut off; this cannot be undone")
    run_async(_retire(code, realm))


@app.command(epilog=examples("msgxc apps refresh SHOP-APP"))
def refresh(code: Code) -> None:
    """Have every process ask the app service anew (MSGXC_APPS_URL). Apps registered here need none of this."""
    run_async(_refresh(code))


async def _list(realm: str, *, retired: bool, as_json: bool) -> None:
    async with _exchange() as exchange:
        found = [each async for each in _apps(exchange) if each.settings.merchant == realm]
    shown = [each for each in found if retired or not each.retired]
    if as_json:
        print_json([_document(each) for each in shown])
        return
    print_rows([_line(each) for each in shown], as_json=False, empty=f"no apps in realm {realm}")


async def _show(code: str, realm: str, *, as_json: bool) -> None:
    async with _exchange() as exchange:
        document = _document(await _app(exchange, code, realm))
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        typer.echo(f"{name:<36} {shown}")


async def _register(code: str, realm: str, given: dict[str, Any]) -> None:
    from commands.apps import RegisterApp

    command = RegisterApp(code=code, settings=_settings(given, realm))
    async with _exchange() as exchange:
        await exchange.bus.execute(command, Context(realm, f"{NAME} register"))
    note(f"{code} is registered in realm {realm}")
    _warn_of_service(exchange)


async def _change(code: str, realm: str, given: dict[str, Any]) -> None:
    from commands.apps import ChangeApp

    if not given:
        raise Failure("nothing to change: give --settings, --name or --kind")
    async with _exchange() as exchange:
        before = msgspec.to_builtins((await _app(exchange, code, realm)).settings)
        settings = _settings({**before, **given}, realm)
        # By name, since somebody else may change others meanwhile.
        names = tuple(name for name in settings.__struct_fields__ if name in given)
        command = ChangeApp(code=code, settings=settings, names=names)
        await exchange.bus.execute(command, Context(realm, f"{NAME} change"))
    note(f"{code} is changed; every process knows within a second")
    _warn_of_service(exchange)


async def _retire(code: str, realm: str) -> None:
    from commands.apps import RetireApp

    async with _exchange() as exchange:
        await exchange.bus.execute(RetireApp(code=code), Context(realm, f"{NAME} retire"))
    note(f"{code} is retired")
    _warn_of_service(exchange)


def _warn_of_service(exchange: Exchange) -> None:
    if exchange.session.settings.services.apps.url:
        note("msgxc: devices' calls do not look at it: they go by the app service (MSGXC_APPS_URL)")


async def _refresh(code: str) -> None:
    session = begun_session()
    if not session.settings.services.apps.url:
        raise Failure(
            "there is no app service to ask: set MSGXC_APPS_URL as it is set where the exchange runs. Without one, "
            "what changes of an app is known to every process within a second"
        )
    async with _exchange(session) as exchange:
        await exchange.apps.refresh(code)
    note(f"every process asks the app service anew, once it needs {code}")


@contextlib.asynccontextmanager
async def _exchange(session: Session | None = None) -> AsyncIterator[Exchange]:
    from cli.bootstrap import open_exchange
    from cli.wiring.endpoints import any_endpoint

    session = session or begun_session()
    async with (
        any_endpoint(session, name=NAME) as endpoint,
        open_exchange(session, endpoint, {}, projecting=False) as exchange,
    ):
        yield exchange


async def _app(exchange: Exchange, code: str, realm: str) -> App:
    from domain.app import App

    found = await exchange.log.events.load(App, exchange.ids.app(code), fresh=True)
    if found is None or found.settings.merchant != realm:
        raise Failure(f"no app has the code {code} in realm {realm}: see msgxc apps list")
    return found


async def _apps(exchange: Exchange) -> AsyncIterator[App]:
    """All apps, by code."""
    from uuid import UUID

    from domain.app import App
    from domain.recorded import EVENTS

    ids: set[UUID] = set()
    position = 1
    while page := await exchange.log.js.read(EVENTS, "evt.app.>", seq=position, limit=SUBJECTS_PAGE):
        ids.update(UUID(stored.subject.rpartition(".")[2]) for stored in page)
        position = page[-1].sequence + 1
    loaded: list[App] = []
    with progress("reading apps", unit="apps") as advance:
        for number, id in enumerate(ids, start=1):
            if (found := await exchange.log.events.load(App, id, fresh=True)) is not None:
                loaded.append(found)
            advance(number, len(ids))
    for each in sorted(loaded, key=lambda each: each.code.casefold()):
        yield each


def _given(path: str, **options: str | None) -> dict[str, Any]:
    """What the file says, and over it what the options say."""
    said = _read(path) if path else {}
    return {**said, **{name: value for name, value in options.items() if value is not None}}


def _read(path: str) -> dict[str, Any]:
    from api.msgxc.app_bodies import SETTINGS_BYTES_MAX

    try:
        content = _content(path, SETTINGS_BYTES_MAX + 1)
        if len(content) > SETTINGS_BYTES_MAX:
            raise Failure(f"{path}: settings have at most {SETTINGS_BYTES_MAX:,} bytes")
        return msgspec.json.decode(content, type=dict[str, Any])
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Failure(f"{path}: not a JSON object: {error}") from error
    except (UnicodeDecodeError, RecursionError):
        raise Failure(f"{path}: not JSON in UTF-8 of a sensible depth") from None


def _content(path: str, bytes_max: int) -> bytes:
    """No more than tells that it is too much, whatever the path leads to."""
    if path == "-":
        return sys.stdin.buffer.read(bytes_max)
    with Path(path).open("rb") as file:
        return file.read(bytes_max)


def _settings(given: dict[str, Any], realm: str) -> AppSettings:
    """Raises Failure, naming the field."""
    from api.http.problem import decoding_error
    from api.msgxc.app_bodies import PutAppBody
    from domain.errors import Invalid

    try:
        settings = msgspec.convert(given, PutAppBody).settings(realm)
        settings.assert_valid()
    except msgspec.ValidationError as error:
        raise _failure(decoding_error(error, kind=PutAppBody)) from error
    except Invalid as wrong:
        raise _failure(wrong) from wrong
    return settings


def _failure(wrong: Invalid) -> Failure:
    """With the place, said once."""
    if wrong.field and wrong.detail.startswith(wrong.field):
        return Failure(wrong.detail)
    return Failure(f"{wrong.field}: {wrong.detail}")


def _document(found: App) -> dict[str, Any]:
    """As the admin API answers it."""
    from api.msgxc.app_bodies import AppView

    settings = found.settings
    view = AppView(
        code=found.code,
        registered=found.created_on,
        changed=found.modified_on,
        retired=found.modified_on if found.retired else None,
        **{name: getattr(settings, name) for name in settings.__struct_fields__},
    )
    document: dict[str, Any] = msgspec.to_builtins(view)
    first = {name: document.pop(name) for name in ("code", "merchant", "registered", "changed", "retired")}
    return {**first, **document}


def _line(found: App) -> dict[str, Any]:
    settings = found.settings
    return {
        "code": found.code,
        "name": settings.name,
        "kind": settings.kind,
        "push": settings.push_style,
        "anonymous": settings.anonymous_allowed,
        "geofences": sum(len(group.geofences) for group in settings.geofences.groups),
        "retired": found.retired,
    }
