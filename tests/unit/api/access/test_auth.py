"""What a token must be, which key verifies it, and how long an answer about it is kept."""

from __future__ import annotations

import base64
import time
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.access import auth
from api.access.auth import Verifier, bearer
from api.access.keys import BadKeys, Key, KeySet, key_set, parse_jwks
from api.http.heads import Head, Target
from domain.errors import Unauthenticated

SECRET = b"a secret of thirty-two bytes, or more, so that it would do for HS512"
RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()

SIGNERS: dict[str, Any] = {"HS256": SECRET, "RS256": RSA, "ES256": EC, "EdDSA": ED}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk(algorithm: str, key: Any, **more: Any) -> dict[str, Any]:
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(
        key if isinstance(key, bytes) else key.public_key(), as_dict=True
    )
    return {**made, "alg": algorithm, **more}


ALL_KEYS = {"keys": [jwk(name, key, kid=f"k-{name}") for name, key in SIGNERS.items()]}


class Source:
    """api.port.KeySource."""

    def __init__(self, *keys: Key) -> None:
        self.keys = KeySet(keys)

    def current(self) -> KeySet:
        return self.keys


def verifier(document: Any = ALL_KEYS, *, now_s: Any = time.time, audience: str | None = None) -> Verifier:
    return Verifier(Source(*parse_jwks(document, source="test")), now_s=now_s, audience=audience)


def signed(algorithm: str = "HS256", key: Any = None, *, header: Any = None, **claims: Any) -> str:
    said = {"sub": "ann", "exp": time.time() + 60, **claims}
    said = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(said, key or SIGNERS[algorithm], algorithm=algorithm, headers=header)


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_each_algorithm_is_verified_with_its_own_key(algorithm: str) -> None:
    """HS256, RS256, ES256 and EdDSA; the kid may be left out where one key has the algorithm."""
    for header in ({"kid": f"k-{algorithm}"}, None):
        identity = verifier().verify(signed(algorithm, header=header))
        assert identity.caller.uid == "ann"


def test_the_claims_make_the_caller() -> None:
    """Uid goes before sub; realm, roles and method are taken; the realm is main if none is named."""
    caller = verifier().verify(signed(uid="u1", realm="r-2", roles=["admin"], method="svc")).caller
    assert (caller.uid, caller.realm, caller.roles) == ("u1", "r-2", frozenset({"admin"}))
    assert caller.is_admin
    assert caller.is_service
    assert verifier().verify(signed()).caller.realm == "main"


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"exp": None}, "exp"),
        ({"exp": 1}, "expired"),
        ({"exp": "soon"}, "cannot be verified"),
        ({"exp": float("inf")}, "cannot be verified"),
        ({"exp": 10**400}, "must be a number"),
        ({"exp": "9999999999"}, "must be a number"),
        ({"nbf": time.time() + 86_400}, "not good yet"),
        ({"sub": None}, "sub, uid"),
        ({"sub": ""}, "sub"),
        ({"sub": "x" * 300}, "sub"),
        ({"sub": 7}, "sub"),
        ({"uid": "a\nb"}, "uid"),
        ({"realm": "a|b"}, "realm"),
        ({"realm": ""}, "realm"),
        ({"roles": "admin"}, "roles"),
        ({"roles": [1]}, "roles"),
        ({"roles": {"admin": True}}, "roles"),
    ],
)
def test_a_token_that_says_too_little_or_nonsense_is_refused(claims: dict[str, Any], words: str) -> None:
    """401, with what to mend."""
    with pytest.raises(Unauthenticated, match=words):
        verifier().verify(signed(**claims))


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (signed() + "x", "signature"),
        ("a.b.c", "no JWT"),
        (signed(header={"kid": "other"}), "alg and kid"),
    ],
)
def test_a_refusal_says_which_check_failed(token: str, words: str) -> None:
    """Whoever writes a client sees what to mend; what the token says is not repeated."""
    with pytest.raises(Unauthenticated, match=words):
        verifier().verify(token)


def test_a_key_verifies_nothing_but_its_own_algorithm() -> None:
    """No `none`, no public key as an HMAC secret, no kid of another algorithm, no other algorithm of the family."""
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header, payload = (
        b64(msgspec.json.encode(part))
        for part in ({"alg": "HS256", "kid": "k-RS256"}, {"sub": "ann", "exp": time.time() + 60})
    )
    algorithm = jwt.get_algorithm_by_name("HS256")
    forged = f"{header}.{payload}.{b64(algorithm.sign(f'{header}.{payload}'.encode(), public))}"
    none = f"{b64(b'{"alg":"none"}')}.{payload}."
    for bad in (
        forged,
        none,
        none + "x",
        signed("HS256", header={"kid": "k-RS256"}),
        jwt.encode({"sub": "a", "exp": time.time() + 60}, RSA, algorithm="RS512"),
        jwt.encode({"sub": "a", "exp": time.time() + 60}, RSA, algorithm="PS256", headers={"kid": "k-RS256"}),
        jwt.encode({"sub": "a", "exp": time.time() + 60}, SECRET, algorithm="HS512"),
        signed("HS256", b"somebody else's secret, of 32 bytes"),
        signed() + "x",
        "",
        "a.b.c",
        "é" * 10,
        "x" * 9_000,
        '{"priv":{},"pub":{"id":"ann"},"exp":1}',
    ):
        with pytest.raises(Unauthenticated):
            verifier().verify(bad)


def test_without_a_kid_two_keys_of_an_algorithm_are_ambiguous() -> None:
    """Then a token must name its key; naming one works."""
    other = b"another secret of thirty-two bytes.."
    keys = {"keys": [jwk("HS256", SECRET, kid="a"), jwk("HS256", other, kid="b")]}
    with pytest.raises(Unauthenticated):
        verifier(keys).verify(signed())
    assert verifier(keys).verify(signed(key=other, header={"kid": "b"})).caller.uid == "ann"
    with pytest.raises(Unauthenticated):
        verifier(keys).verify(signed(key=other, header={"kid": "a"}))


def test_an_audience_is_demanded_where_one_is_set() -> None:
    """Without one, a token's aud is not looked at."""
    assert verifier().verify(signed(aud="shop")).caller.uid == "ann"
    assert verifier(audience="msgxc").verify(signed(aud=["msgxc", "shop"])).caller.uid == "ann"
    for aud in ("shop", None):
        with pytest.raises(Unauthenticated):
            verifier(audience="msgxc").verify(signed(aud=aud))


def test_a_verified_token_is_remembered_until_it_expires_or_the_keys_change() -> None:
    """The same answer for the same token; expiry is looked at each time; a removed key ends it at once."""
    now = [time.time()]
    source = Source(*parse_jwks(ALL_KEYS, source="test"))
    made = Verifier(source, now_s=lambda: now[0])
    token = signed()
    assert made.verify(token) is made.verify(token)
    now[0] += 61
    with pytest.raises(Unauthenticated, match="expired"):
        made.verify(token)
    now[0] -= 61
    assert made.verify(token).caller.uid == "ann"
    source.keys = KeySet(tuple(key for key in source.keys.keys if key.algorithm != "HS256"))
    with pytest.raises(Unauthenticated):
        made.verify(token)


def test_a_head_that_comes_again_is_trusted_no_longer_than_its_token() -> None:
    """Its token is not read again, but ends with its exp, and with any change of the keys."""
    now = [time.time()]
    source = Source(*parse_jwks(ALL_KEYS, source="test"))
    made = Verifier(source, now_s=lambda: now[0])
    by_ann = {b"authorization": b"Bearer " + signed().encode()}
    head = Head(Target("GET", "/", b"/", b""), [*by_ann.items()])
    first = made.of_head(head)
    head.by_name = {}
    assert made.of_head(head) is first
    head.by_name = by_ann
    now[0] += 61
    with pytest.raises(Unauthenticated, match="expired"):
        made.of_head(head)
    now[0] -= 61
    source.keys = KeySet(source.keys.keys)
    assert made.of_head(head) is not first
    source.keys = KeySet(tuple(key for key in source.keys.keys if key.algorithm != "HS256"))
    with pytest.raises(Unauthenticated):
        made.of_head(head)
    with pytest.raises(Unauthenticated):
        verifier(audience="another").of_head(head)


def test_what_is_remembered_is_bounded() -> None:
    """However many tokens come, CACHE_MAX of them are kept, the newest ones."""
    made = verifier()
    first = made.verify(signed(n=-1, jti="first"))
    made._known = dict.fromkeys((str(number).encode() for number in range(auth.CACHE_MAX)), first)
    made.verify(signed(jti="one more"))
    assert len(made._known) == auth.CACHE_MAX
    assert b"0" not in made._known


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "write a JWKS"),
        ({"keys": {}}, "write a JWKS"),
        ({"keys": ["x"]}, "write a JWKS"),
        (jwk("HS256", b"short", kid="s"), "at least 32 bytes"),
        (jwk("RS256", rsa.generate_private_key(public_exponent=65_537, key_size=1024)), "2048 bits"),  # noqa: S505
        ({**jwk("HS256", SECRET), "alg": "HS512"}, "use HS256"),
        ({**jwk("RS256", RSA), "alg": "PS256"}, "use HS256"),
        ({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}, "use HS256"),
        ({"kty": "OKP", "crv": "X25519", "x": "AA"}, "use HS256"),
        ({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, "cannot be read"),
        ({"kty": "oct"}, "cannot be read"),
    ],
)
def test_a_key_that_cannot_be_used_says_why_and_not_what_it_is(document: Any, words: str) -> None:
    """Too short, of another algorithm, broken: the source and the kid are named, never the secret."""
    with pytest.raises(BadKeys, match=words) as error:
        parse_jwks(document, source="keys.json")
    assert "keys.json" in str(error.value)
    assert "short" not in str(error.value)


def test_a_set_has_each_kid_once_and_skips_encryption_keys() -> None:
    """Two keys of one kid are a mistake; a private signing key gives its public half."""
    keys = parse_jwks(ALL_KEYS, source="a")
    with pytest.raises(BadKeys, match="same kid"):
        key_set([*keys, keys[0]], source="a")
    with pytest.raises(BadKeys, match="at most"):
        key_set(keys * 50, source="a")
    assert parse_jwks({"keys": [{**jwk("RS256", RSA), "use": "enc"}]}, source="a") == ()
    private = jwt.get_algorithm_by_name("EdDSA").to_jwk(ED, as_dict=True)
    [key] = parse_jwks(private, source="a")
    assert not hasattr(key.verifier, "sign")


@pytest.mark.parametrize("value", [b"", b"Bearer", b"Bearer ", b"Basic abc", b"abc"])
def test_a_header_without_a_bearer_token_is_refused(value: bytes) -> None:
    """The scheme is Bearer, in any case, and something follows it."""
    with pytest.raises(Unauthenticated):
        bearer([(b"authorization", value)])
    with pytest.raises(Unauthenticated):
        bearer([])
    assert bearer([(b"accept", b"*"), (b"authorization", b"bearer abc")]) == "abc"
