"""TLS by the options of the URL: which servers are trusted, and the errors for others."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch
from urllib.parse import quote

import pytest

from tests.postgres import PostgresServer
from tests.support import Project, Result
from tests.tls import SSL_REQUEST, Authority, TlsFront


class Scene(NamedTuple):
    """The server with TLS, its certificate authority, and an unrelated one."""

    front: TlsFront
    authority: Authority
    stranger: Authority


@pytest.fixture
def scene(tmp_path: Path, postgres: PostgresServer) -> Iterator[Scene]:
    """Begin to listen; the certificate is for 127.0.0.1."""
    for name in ("authority", "stranger"):
        (tmp_path / name).mkdir()
    authority, stranger = Authority(tmp_path / "authority"), Authority(tmp_path / "stranger")
    front = TlsFront(postgres, authority.issue("server", "127.0.0.1"))
    yield Scene(front, authority, stranger)
    front.stop()


@pytest.fixture
def backend() -> str:
    """Only PostgreSQL has TLS."""
    return "postgresql"


def wait(project: Project, url: str) -> Result:
    """Ask the database behind a URL for an answer."""
    (project.directory / "settings.toml").write_text(f'database_url = "{url}"\n')
    return project.run("db", "status", "-o", "json")


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
def test_the_connection_is_encrypted(empty_project: Project, scene: Scene, mode: str) -> None:
    """In each mode that speaks TLS, with the right CA where one is looked at."""
    options: dict[str, object] = {"sslmode": mode}
    if mode.startswith("verify"):
        options["sslrootcert"] = scene.authority.file
    result = wait(empty_project, scene.front.url(options))
    assert result.code == 0, result
    assert scene.front.encrypted
    assert set(scene.front.encrypted) == {"TLSv1.3"}


def test_without_tls_the_server_refuses(empty_project: Project, scene: Scene) -> None:
    """sslmode=disable is obeyed: nothing is encrypted, and the server does not answer."""
    result = wait(empty_project, scene.front.url({"sslmode": "disable"}))
    assert result.code == 7, result
    assert scene.front.encrypted == []


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_another_authority_is_not_trusted(empty_project: Project, scene: Scene, mode: str) -> None:
    """With a CA file even 'require' verifies, as libpq does: exit 7, and the reason."""
    options = {"sslmode": mode, "sslrootcert": scene.stranger.file}
    result = wait(empty_project, scene.front.url(options))
    assert result.code == 7, result
    assert "the server's certificate is refused: " in result.stderr
    assert "hint: check sslrootcert" in result.stderr


def test_another_host_is_detected_by_verify_full_only(empty_project: Project, scene: Scene) -> None:
    """The certificate is for the address: the name of the same machine is another one."""
    for mode, code in (("verify-ca", 0), ("verify-full", 7)):
        options = {"sslmode": mode, "sslrootcert": scene.authority.file}
        result = wait(empty_project, scene.front.url(options, host="localhost"))
        assert result.code == code, result
    assert "certificate is refused" in result.stderr


def test_a_client_certificate_is_shown(
    empty_project: Project, scene: Scene, postgres: PostgresServer
) -> None:
    """A server that requires one accepts it; without it the log-in fails."""
    demanding = TlsFront(
        postgres,
        scene.authority.issue("demanding", "127.0.0.1"),
        clients=scene.authority.file,
    )
    cert, key = scene.authority.issue("postgres")
    options = {"sslmode": "require", "sslcert": cert, "sslkey": key}
    assert wait(empty_project, demanding.url(options)).code == 0
    result = wait(empty_project, demanding.url({"sslmode": "require"}))
    assert result.code == 7, result
    demanding.stop()


def test_a_key_with_a_pass_phrase_needs_it(
    empty_project: Project, scene: Scene, postgres: PostgresServer
) -> None:
    """An option passes it; without it the error names the option, without a prompt."""
    certificate = scene.authority.issue("demanding", "127.0.0.1")
    demanding = TlsFront(postgres, certificate, clients=scene.authority.file)
    cert, key = scene.authority.issue("postgres", phrase="CANARY")
    options = {"sslmode": "require", "sslcert": cert, "sslkey": key}
    refused = wait(empty_project, demanding.url(options))
    assert refused.code == 78, refused
    assert str(key) in refused.stderr
    assert "hint: a key with a pass phrase requires sslpassword" in refused.stderr
    wrong = wait(empty_project, demanding.url({**options, "sslpassword": "CANARY-wrong"}))
    assert wrong.code == 78, wrong
    assert "CANARY" not in wrong.stderr
    assert wait(empty_project, demanding.url({**options, "sslpassword": "CANARY"})).code == 0
    demanding.stop()


def test_direct_tls_begins_without_a_question(empty_project: Project, scene: Scene) -> None:
    """sslnegotiation=direct, for PostgreSQL 17: the first byte is TLS, for this protocol."""
    options = {"sslmode": "require", "sslnegotiation": "direct"}
    assert wait(empty_project, scene.front.url(options)).code == 0
    assert set(scene.front.direct) == {"postgresql"}
    assert scene.front.encrypted == []


def test_names_of_files_start_at_the_project(empty_project: Project, scene: Scene) -> None:
    """A relative name is read from the directory of the settings."""
    (empty_project.directory / "ca.pem").write_bytes(scene.authority.file.read_bytes())
    url = scene.front.url({"sslmode": "verify-full", "sslrootcert": "ca.pem"})
    assert wait(empty_project, url).code == 0


def test_a_server_without_tls_is_reported(empty_project: Project, postgres: PostgresServer) -> None:
    """sslmode=require with a server without TLS: exit 7 and the reason; 'prefer' connects."""
    front = TlsFront(postgres, None)
    result = wait(empty_project, front.url({"sslmode": "require"}))
    assert result.code == 7, result
    assert "the server does not offer TLS" in result.stderr
    assert wait(empty_project, front.url({"sslmode": "prefer"})).code == 0
    front.stop()


WRONG = {
    "sslmode=verify-full&sslrootcert=missing.pem": "sslrootcert: no such file",
    "sslmode=require&sslcert=missing.pem": "sslcert: no such file",
    "sslmode=require&sslkey=settings.toml": "sslkey requires sslcert",
    "sslrootcert=settings.toml": "sslrootcert requires sslmode",
    "sslmode=prefer&sslcert=settings.toml": "sslcert requires sslmode",
    "sslmode=verify-full": "sslmode=verify-full requires sslrootcert",
    "sslmode=verify-ca": "sslmode=verify-ca requires sslrootcert",
    "sslmode=always": "sslmode is not one of",
    "sslmode=require&sslrootcert=settings.toml": "sslrootcert: not a certificate",
    "sslmode=require&sslcert=settings.toml": "sslcert or sslkey: not a certificate",
}


@pytest.mark.parametrize("options", WRONG)
def test_options_that_make_no_sense_are_refused(
    empty_project: Project, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 78 with the option's name, before anything is sent."""
    monkeypatch.setenv("HOME", str(empty_project.directory))
    result = wait(empty_project, f"postgresql://u@127.0.0.1:1/d?{options}")
    assert result.code == 78, result
    assert WRONG[options] in result.stderr


@pytest.mark.parametrize("phrase", ["", "p@ss phrase"])
def test_the_shell_has_the_same_tls(
    empty_project: Project, scene: Scene, postgres: PostgresServer, phrase: str
) -> None:
    """CA, certificate, key and its pass phrase reach psql, and none by its arguments.

    The psql of this machine may know no TLS: what it would get opens the server's door here.
    """
    certificate = scene.authority.issue("server", "127.0.0.1")
    demanding = TlsFront(postgres, certificate, clients=scene.authority.file)
    cert, key = scene.authority.issue("postgres", phrase=phrase)
    options: dict[str, object] = {
        "sslmode": "verify-full",
        "sslrootcert": scene.authority.file,
        "sslcert": cert,
        "sslkey": key,
    }
    if phrase:
        options["sslpassword"] = quote(phrase)
    url = demanding.url(options)
    (empty_project.directory / "settings.toml").write_text(f'database_url = "{url}"\n')
    service: list[str] = []

    def execve(_: str, words: list[str], variables: dict[str, str]) -> None:
        service.extend(
            [] if not phrase else Path(variables["PGSERVICEFILE"]).read_text().split("\n")
        )
        raise SystemExit(0)

    with patch("os.execve", side_effect=execve) as run:
        empty_project.run("db", "shell")
    _, words, variables = run.call_args.args
    assert [Path(word).name for word in words] == ["psql"]
    assert variables["PGSSLMODE"] == "verify-full"
    assert service == (
        [f"[{variables['PGSERVICE']}]", f"sslpassword={phrase}", ""] if phrase else []
    )
    context = ssl.create_default_context(cafile=variables["PGSSLROOTCERT"])
    context.load_cert_chain(variables["PGSSLCERT"], variables["PGSSLKEY"], phrase or "none")
    with socket.create_connection(("127.0.0.1", int(variables["PGPORT"]))) as plain:
        plain.sendall(SSL_REQUEST)
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain, server_hostname=variables["PGHOST"]) as secure:
            secure.sendall(SSL_REQUEST)
            assert secure.recv(1) == b"N"  # the server behind it, which has no TLS of its own
    demanding.stop()
