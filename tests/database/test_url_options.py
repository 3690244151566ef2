"""Options in URLs that hosted databases hand out: used, needless, or refused with the reason."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clarinet_cli.database.url import database_url
from tests.postgres import PostgresServer
from tests.support import Project, run_in_process
from tests.tls import Authority, TlsFront


@pytest.fixture
def backend() -> str:
    """SQLite's URLs have no options."""
    return "postgresql"


@pytest.fixture
def front(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[TlsFront]:
    """A server with TLS and a self-signed certificate."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    opened = TlsFront(postgres, authority.issue("server", "127.0.0.1"))
    yield opened
    opened.stop()


def write(project: Project, front: TlsFront, query: str, scheme: str = "postgresql") -> None:
    """Write a URL of the project's database behind a front."""
    where = f"postgres@127.0.0.1:{front.port}/{project.database}"
    text = f'database_url = "{scheme}://{where}?{query}"\n'
    (project.directory / "settings.toml").write_text(text)


PASTED = {
    "neon": "sslmode=require&channel_binding=prefer",
    "neon-pooled": "sslmode=require&options=-c%20search_path%3Dpublic",
    "supabase": "sslmode=require&supa=base-pooler.x&pgbouncer=true&connection_limit=1",
    "prisma": "ssl=require&schema=public&pool_timeout=20&connect_timeout=15",
    "heroku": "ssl=true",
    "node": "ssl=no-verify&uselibpqcompat=true",
    "jdbc": "ssl=true&prepareThreshold=0&currentSchema=public",
    "django": "sslmode=require&target_session_attrs=read-write&keepalives=1&keepalives_idle=30",
    "azure": "sslmode=require&gssencmode=disable&client_encoding=utf8",
    "sqlalchemy": "ssl=require&prepared_statement_cache_size=0&application_name=app",
    "psql": "sslmode=require&fallback_application_name=psql&connect_timeout=0",
}


@pytest.mark.parametrize("pasted", PASTED)
def test_what_hosts_hand_out_connects(project: Project, front: TlsFront, pasted: str) -> None:
    """A pasted URL connects, with TLS where it requires TLS."""
    write(project, front, PASTED[pasted])
    result = project.run("db", "status", "-o", "json")
    assert result.code == 0, result
    assert result.json["tables"]["user"] == 1
    assert front.encrypted


@pytest.mark.parametrize(
    "scheme",
    ["postgres", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+asyncpg", "postgres+x"],
)
def test_any_name_of_the_driver_is_taken(project: Project, front: TlsFront, scheme: str) -> None:
    """The URL of an application that uses another driver."""
    write(project, front, "sslmode=require", scheme)
    assert project.run("db", "status").code == 0


def test_options_have_their_effect(project: Project, front: TlsFront) -> None:
    """The schema that the URL names is the one in which tables are looked for."""
    for option in (
        "schema=elsewhere",
        "options=-csearch_path%3Delsewhere",
        "search_path=elsewhere",
    ):
        write(project, front, option)
        assert project.run("admin", "list").code == 1
    write(project, front, "target_session_attrs=standby")
    result = project.run("db", "status")
    assert result.code == 7, result
    assert "unexpected" not in result.stderr
    assert "target_session_attrs" in result.stderr


@pytest.mark.parametrize("option", ["endpoint%3Da", "-c%20nothing%3D1", "-c%20work_mem%3Dx"])
def test_options_that_the_server_refuses(project: Project, front: TlsFront, option: str) -> None:
    """A setting to correct, in words, and no number of an error."""
    write(project, front, f"options={option}")
    result = project.run("db", "status")
    assert result.code == 78, result
    assert "rejects a connection option" in result.stderr
    assert "database_url" in result.stderr


def test_a_mode_that_does_not_exist_is_refused_on_a_socket_too(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """TLS plays no part there; a slip in the mode is one all the same, as in libpq."""
    url = f"postgresql://{postgres.user}@/postgres?host={postgres.host}&sslmode=requir"
    (tmp_path / "settings.toml").write_text(f'database_url = "{url}"\n')
    result = run_in_process(["-C", str(tmp_path), "db", "status"])
    assert result.code == 78, result
    assert "sslmode is not one of disable, allow, prefer" in result.stderr


def test_parts_may_stand_among_the_options(project: Project, front: TlsFront) -> None:
    """As libpq allows it, for each part but none that is there already."""
    query = f"host=127.0.0.1&port={front.port}&user=postgres&dbname={project.database}&password=x"
    text = f'database_url = "postgresql://?{query}"\n'
    (project.directory / "settings.toml").write_text(text)
    assert project.run("db", "status").code == 0
    url = database_url(project.settings)
    assert (url.username, url.password, url.database) == ("postgres", "x", project.database)
    text = 'database_url = "postgresql://u:p@h:5/d?user=v&password=q&dbname=e"\n'
    (project.directory / "settings.toml").write_text(text)
    url = database_url(project.settings)
    assert (url.username, url.password, url.database) == ("u", "p", "d")


REFUSED = {
    "sslmode=require&channel_binding=require": "channel_binding=require: the driver does not",
    "channel_binding=sometimes": "channel_binding is not one of disable, prefer, require",
    "gssencmode=require": "gssencmode=require: the driver supports TLS only",
    "passfile=x": "passfile: PostgreSQL's password file is not read",
    "service=x": "service: service files are not read",
    "sslcrl=x": "sslcrl: certificate revocation lists are not supported",
    "krbsrvname=x": "krbsrvname: Kerberos is not supported",
    "hostaddr=127.0.0.1": "hostaddr: not supported",
    "ssl=maybe": "ssl is not one of true, 1",
    "ssl=require&sslmode=disable": "sslmode contradicts sslmode=require",
    "sslmode=require&sslmode=disable": "sslmode is given several times",
    "schema=a&search_path=b": "search_path contradicts search_path=a",
    "target_session_attrs=best": "target_session_attrs is not one of any, read-write",
    "connect_timeout=soon": "connect_timeout is not a number of seconds",
    "connect_timeout=%C2%B2": "connect_timeout is not a number of seconds",
    "application_name=a%00": "application_name has a NUL character",
    "sslnegotiation=direct": "sslnegotiation=direct requires sslmode=require",
    "sslnegotiation=indirect": "sslnegotiation is not one of postgres, direct",
    "sslpassword=x": "sslpassword requires sslcert",
    "sslmode=verify-ca&sslrootcert=system": "sslrootcert=system requires sslmode=verify-full",
    "sslmod=require": "unknown option 'sslmod'",
    "user=a&user=b": "user is given several times",
}


@pytest.mark.parametrize("query", REFUSED)
def test_what_has_no_effect_here_is_refused(
    empty_project: Project, front: TlsFront, query: str
) -> None:
    """78, and what is wrong with which option; nothing is connected."""
    write(empty_project, front, query)
    result = empty_project.run("db", "status")
    assert result.code == 78, result
    assert f"settings.toml: database_url: {REFUSED[query]}" in result.stderr
    assert not front.encrypted


HINTS = {
    "sslmod=require": "known: application_name, connect_timeout, currentSchema, dbname, host,",
    "channel_binding=require": "use sslmode=verify-full with sslrootcert=system or a CA file",
    "passfile=x": "set database_password, or CLARINET_DATABASE_PASSWORD in the environment",
}


@pytest.mark.parametrize("query", HINTS)
def test_the_hint_names_the_remedy(empty_project: Project, front: TlsFront, query: str) -> None:
    """The supported values, or the alternative."""
    write(empty_project, front, query)
    assert f"hint: {HINTS[query]}" in empty_project.run("db", "status").stderr


def test_a_verified_server_needs_no_channel_binding(
    project: Project, postgres: PostgresServer
) -> None:
    """Neon's own URL with sslmode=verify-full: the certificate identifies the server."""
    authority = Authority(project.directory)
    front = TlsFront(postgres, authority.issue("server", "127.0.0.1"))
    write(project, front, "sslmode=verify-full&sslrootcert=ca.pem&channel_binding=require")
    result = project.run("db", "status")
    front.stop()
    assert result.code == 0, result
    assert front.encrypted


# --- The same as settings of their own -------------------------------------------------------


def test_settings_of_tls_serve_the_parts(project: Project, postgres: PostgresServer) -> None:
    """database_sslmode and its files, relative to the project, without a URL."""
    authority = Authority(project.directory)
    client = authority.issue("postgres")
    server = authority.issue("server", "127.0.0.1")
    front = TlsFront(postgres, server, clients=authority.file)
    keys = (
        f'database_driver = "postgresql"\ndatabase_host = "127.0.0.1"\n'
        f'database_port = {front.port}\ndatabase_name = "{project.database}"\n'
        f'database_sslrootcert = "ca.pem"\n'
        f'database_sslcert = "{client[0].name}"\ndatabase_sslkey = "{client[1].name}"\n'
    )
    for mode in ("require", "verify-ca", "verify-full"):
        text = f'{keys}database_sslmode = "{mode}"\n'
        (project.directory / "settings.toml").write_text(text)
        assert project.run("db", "status").code == 0
    another = Authority(project.directory)  # in place of the first one's file
    assert another.file == authority.file
    refused = project.run("db", "status")
    front.stop()
    assert refused.code == 7, refused
    assert f"(checked with {authority.file})" in refused.stderr


def test_require_without_a_certificate_encrypts(project: Project, front: TlsFront) -> None:
    """As in libpq: any certificate is accepted; a server without TLS is refused."""
    keys = (
        f'database_driver = "postgresql"\ndatabase_host = "127.0.0.1"\n'
        f'database_port = {front.port}\ndatabase_name = "{project.database}"\n'
        'database_sslmode = "require"\n'
    )
    (project.directory / "settings.toml").write_text(keys)
    assert project.run("db", "status", env={"HOME": "/nonexistent"}).code == 0
    assert front.encrypted


def test_a_url_takes_from_the_settings_what_it_does_not_say(
    project: Project, front: TlsFront, postgres: PostgresServer
) -> None:
    """The setting counts for URLs without an sslmode, and a contradiction is refused."""
    plain = TlsFront(postgres, None)
    where = f"postgresql://postgres@127.0.0.1:{plain.port}/{project.database}"
    (project.directory / "settings.toml").write_text(f'database_url = "{where}"\n')
    assert project.run("db", "status").code == 0
    demanded = project.run("db", "status", env={"CLARINET_DATABASE_SSLMODE": "require"})
    assert demanded.code == 7, demanded
    assert "the server does not offer TLS" in demanded.stderr
    assert "hint: database_sslmode, or sslmode in database_url, requires TLS" in demanded.stderr
    write(project, front, "ssl=require")
    refused = project.run("db", "status", env={"CLARINET_DATABASE_SSLMODE": "verify-full"})
    assert refused.code == 78, refused
    assert "sslmode=require contradicts database_sslmode = 'verify-full'" in refused.stderr
    plain.stop()


def test_a_socket_has_no_tls(project: Project) -> None:
    """Settings that demand TLS do not keep a socket from being used, as in libpq."""
    text = f'{project.database_settings}database_sslmode = "verify-full"\n'
    (project.directory / "settings.toml").write_text(text)
    assert project.run("db", "status").code == 0


WRONG = {
    'database_sslmode = "always"': "database_sslmode: Input should be 'disable', 'allow'",
    'database_sslmode = "verify-full"': "database_sslmode: sslmode=verify-full requires sslroot",
    'database_sslrootcert = "settings.toml"': "database_sslrootcert: sslrootcert requires sslmode",
    'database_sslmode = "require"\ndatabase_sslcert = "none"': (
        "database_sslcert: sslcert: no such file"
    ),
    'database_sslmode = "require"\ndatabase_sslkey = "settings.toml"': (
        "database_sslkey: sslkey requires sslcert"
    ),
}


@pytest.mark.parametrize("lines", WRONG)
def test_settings_that_make_no_sense_are_refused(empty_project: Project, lines: str) -> None:
    """78 with file and key."""
    text = f'database_driver = "postgresql"\ndatabase_host = "127.0.0.1"\n{lines}\n'
    (empty_project.directory / "settings.toml").write_text(text)
    result = empty_project.run("db", "status", env={"HOME": "/nonexistent"})
    assert result.code == 78, result
    assert f"settings.toml: {WRONG[lines]}" in result.stderr
