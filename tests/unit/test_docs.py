"""The docs say what the code does."""

import re
from pathlib import Path

import api.http.problem
import api.table
import commands.port
import infra.eventstore.store  # noqa: F401  declares an error
from api.about.error_words import WORDS
from domain.errors import MsgxcError
from infra.nats.rights import ROLES, password_of

DOCS = Path(__file__).parents[2] / "docs"


def _all(kind: type[MsgxcError]) -> set[tuple[str, int]]:
    return {(kind.code, kind.status)}.union(*(_all(each) for each in kind.__subclasses__()))


def test_every_error_code_is_documented_with_its_status() -> None:
    """docs/errors.md lists each code and status that a caller can see, and no others."""
    assert api.table.ROUTES
    assert api.http.problem.MethodNotAllowed.code
    assert commands.port.VersionConflict.code
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", (DOCS / "errors.md").read_text(), re.MULTILINE)
    listed = {(code, int(status)) for code, status in rows}
    assert _all(MsgxcError) - listed == set()
    assert {code for code, _ in listed} - {code for code, _ in _all(MsgxcError)} <= {"not-implemented"}


def test_the_words_about_errors_are_those_of_the_page() -> None:
    """docs/errors.md says of each error what /docs/errors says of it."""
    rows = re.findall(
        r"^\| `([a-z-]+)` \| \d{3} \| (.+) \| (.+) \|$", (DOCS / "errors.md").read_text(), re.MULTILINE
    )
    assert {code: words for code, *words in rows} == {code: [*words] for code, words in WORDS.items()}


def test_the_readme_leads_to_each_document_once() -> None:
    """Its table lists every guide, and none of its lines twice."""
    readme = (DOCS.parent / "README.md").read_text()
    listed = re.findall(r"^\| \[[^]]+\]\(([^)]+)\) \|", readme, re.MULTILINE)
    assert len(listed) == len(set(listed))
    guides = {f"docs/{path.relative_to(DOCS)}" for path in (*DOCS.glob("*.md"), *DOCS.glob("guides/*.md"))}
    assert guides <= set(listed)


def test_the_list_of_decisions_has_each_by_its_title() -> None:
    """docs/adr/README.md lists every record once, in order, under the title that it has."""
    records = sorted(DOCS.glob("adr/0*.md"))
    titles = [record.read_text().partition("\n")[0].removeprefix("# ").split(". ", 1) for record in records]
    listed = re.findall(
        r"^- (\d+)\. \[(.+)\]\((.+)\)$", (DOCS / "adr" / "README.md").read_text(), re.MULTILINE
    )
    assert listed == [
        (number, title, record.name) for (number, title), record in zip(titles, records, strict=True)
    ]


def test_the_users_of_the_log_are_those_of_the_guide() -> None:
    """Each has a password in the guide's configuration, and a line that names all it writes."""
    guide = (DOCS / "guides" / "operating.md").read_text()
    users = {"operator", *ROLES}
    assert set(re.findall(r"^([A-Z_]+_PASSWORD):", guide, re.MULTILINE)) == {
        password_of(user) for user in users
    }
    for role in ("api", "project", "dispatch", "resolve", "gateway-apns"):
        [line] = [
            line for line in guide.splitlines() if line.startswith(f"| `{role}`") and "writes" not in line
        ]
        for subject in ROLES[role].publish:
            bucket = subject.removeprefix("$KV.").removesuffix(".>") if subject.startswith("$KV.") else ""
            if not subject.startswith(("$JS.", "msgxc.")):
                assert (bucket or f"`{subject}`") in line, (role, subject)


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link in the docs and the README is a file that is there."""
    links = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
    assert not [
        f"{page.name}: {target}"
        for page in [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]
        for target in links.findall(page.read_text())
        if not (page.parent / target).exists()
    ]
