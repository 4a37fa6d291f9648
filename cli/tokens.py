"""`msgxc token`: a signed token for trying things out and for operators, printed alone so that scripts can take it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from cli import options
from cli.console import print_json
from cli.examples import examples
from cli.session import Session, no_keys, now, read_settings
from domain.context import DEFAULT_REALM
from infra.configuration.datafolder import DataFolder
from infra.secrets import signing_key

ALGORITHM_OF = {"OKP": "EdDSA", "EC": "ES256", "RSA": "RS256", "oct": "HS256"}
"""By key type (RFC 7518, section 6.1), for keys that do not say their algorithm."""

TTL_MAX = timedelta(days=366)
"""Nothing takes a signed token back but a change of keys, which ends all others, too."""

EXAMPLES = examples(
    "msgxc token --uid ann",
    "msgxc token --uid ann --ttl 90d --json | jq .expires",
    'curl -H "Authorization: Bearer $(msgxc token --uid ops --role admin)" localhost:8000/api/v2/threads',
    "msgxc token --uid till-1 --role till --shop 7f6c2b8e-1d7a-4a55-9a3b-0c9f3c1d2e4f",
)


def token(
    *,
    uid: Annotated[str, typer.Option(parser=options.uid, metavar="<str>", help="Whom the token stands for.")],
    role: Annotated[
        list[str] | None,
        typer.Option(
            parser=options.role, metavar="<str>", help="A role it carries, such as admin; may be repeated."
        ),
    ] = None,
    realm: Annotated[
        str, typer.Option(parser=options.realm, metavar="<str>", help="The tenant it belongs to.")
    ] = DEFAULT_REALM,
    ttl: Annotated[
        str, typer.Option(help=f"How long it is good for: 90s, 30m, 1h, 7d; {TTL_MAX.days}d at most.")
    ] = "1h",
    shop: Annotated[
        list[UUID] | None, typer.Option(help="A shop it is for, by its UUID; may be repeated.")
    ] = None,
    app: Annotated[
        list[str] | None,
        typer.Option(
            parser=options.app_code,
            metavar="<str>",
            help="An app in whose name it may send, by its code; may be repeated.",
        ),
    ] = None,
    service: Annotated[
        bool, typer.Option("--service", help="A service's token: it may publish to any thread.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON: the token, and until when it is good.")
    ] = False,
) -> None:
    """Print a token, and nothing else.

    The exchange's keys must be there: msgxc serve makes them. Superusers of web domains (claim isSU) sign with keys of
    their own, see docs/guides/web-domains.md.
    """
    seconds = int(options.duration(ttl, most=TTL_MAX, option="--ttl").total_seconds())
    claims = _claims(uid, role or (), realm, seconds, service=service)
    if shop:
        claims["shops"] = [str(each) for each in shop]
    if app:
        claims["apps"] = list(app)
    _assert_taken(claims)
    signed = _signed(claims, dict(signing_key(_keys())))
    if as_json:
        print_json({"token": signed, "expires": datetime.fromtimestamp(claims["exp"], UTC)})
    else:
        typer.echo(signed)


def _assert_taken(claims: dict[str, Any]) -> None:
    """What the exchange would refuse is not signed: it would be found out at the first call."""
    from api.access.auth import caller_of
    from domain.errors import Unauthenticated

    try:
        caller_of(claims)
    except Unauthenticated as error:
        raise typer.BadParameter(error.detail) from None


def _keys() -> Path:
    """Where the keys are that sign. None are made for a token's sake: nobody would believe it."""
    settings = read_settings()
    if settings.keys.jwt is not None:
        return settings.keys.jwt
    folder = DataFolder(settings.data_dir)
    if not any(folder.jwt.glob("*.json")):
        no_keys(folder)
    return folder.jwt


def sign(session: Session, *, uid: str, ttl_s: int) -> str:
    """A token without roles in the default realm."""
    return _signed(
        _claims(uid, (), DEFAULT_REALM, ttl_s, service=False), dict(signing_key(session.keyring.jwt))
    )


def _claims(uid: str, roles: Sequence[str], realm: str, ttl_s: int, *, service: bool) -> dict[str, Any]:
    issued_s = int(now().timestamp())
    claims: dict[str, Any] = {"sub": uid, "realm": realm, "iat": issued_s, "exp": issued_s + ttl_s}
    if roles:
        claims["roles"] = list(roles)
    if service:
        claims["method"] = "svc"
    return claims


def _signed(claims: dict[str, Any], jwk: dict[str, Any]) -> str:
    import jwt

    algorithm = str(jwk.get("alg") or ALGORITHM_OF[str(jwk["kty"])])
    headers = {"kid": jwk["kid"]} if "kid" in jwk else None
    return jwt.encode(claims, jwt.PyJWK({**jwk, "alg": algorithm}).key, algorithm=algorithm, headers=headers)
