"""Which names are edit_distance of which: near enough to ask, far enough not to annoy."""

import pytest

from clarinet_cli.settings import Settings
from clarinet_cli.spelling import edit_distance, find_misspellings, is_misspelling

OURS = sorted(set(Settings.model_fields) - {"project_dir"})
SLIPS = {
    "database_driver": "databse_driver database_drivr database_dirver databasedriver",
    "database_host": "database_hostname database-host DATABASE_HOST database_hots database.host",
    "database_username": "database_user database_user_name database_usernme",
    "database_password": "database_pass database_passwd database_pasword",
    "database_url": "database_urls databaseurl DATABASE_URL",
    "admin_email": "admin_mail admin_e-mail",
    "session_idle_timeout_minutes": "sesion_idle_timeout_minutes session_idle_timeout_minute",
    "session_expire_hours": "session_expires_hours session_expire_hour",
    "role_capabilities": "role_capabilites roles_capabilities",
    "log_level": "log_levl LOG_LEVEL",
}
# Keys of a server's file, and such as a server may get: none of them is a misspelling.
OF_A_SERVER = """
host port root_url api_base_url secret_key internal_service_token storage_path_client
anon_id_prefix anon_uid_salt disk_path_template frontend_enabled slicer_port slicer_timeout
pacs_host pacs_port pacs_aet rabbitmq_login rabbitmq_password rabbitmq_host rabbitmq_port
rabbitmq_management_url dicom_aet dicom_port dicom_ip dicom_retrieve_mode dicomweb_enabled
dicomweb_cache_cleanup_enabled dicomweb_cache_cleanup_interval ohif_enabled config_mode
reports_path recordflow_enabled pipeline_enabled pipeline_retry_count viewers template_dir
static_dir log_format log_console_level log_noisy_libraries worker_log_file log_remote_url
log_remote_level project_name project_path sse_revalidate_seconds database_pool_size
database_pool database_max_overflow database_pool_recycle database_echo database_timeout
database_schema database_path database_type database_read_only database_options session_secret
session_domain session_same_site session_max_age session_cookie_name cookie_domain cookie_secure
log_file log_path log_json admin_enabled admin_role
"""


@pytest.mark.parametrize(
    ("name", "meant"), [(name, key) for key, names in SLIPS.items() for name in names.split()]
)
def test_a_slip_is_found(name: str, meant: str) -> None:
    """Letters, separators, case, a word cut short: the key that was meant is named."""
    assert meant in find_misspellings(name, OURS)


@pytest.mark.parametrize("name", OF_A_SERVER.split())
def test_a_key_of_the_server_is_not_misspelled(name: str) -> None:
    """The server's own keys are never reported as misspelled."""
    assert find_misspellings(name, OURS) == []


@pytest.mark.parametrize("name", OURS)
def test_a_key_is_no_slip_of_itself(name: str) -> None:
    """What is written right is right."""
    assert not is_misspelling(name, name)


@pytest.mark.parametrize(
    ("first", "second", "number"),
    [("", "", 0), ("a", "", 1), ("ab", "ba", 1), ("kitten", "sitting", 3), ("abc", "abc", 0)],
)
def test_slips_are_counted(first: str, second: str, number: int) -> None:
    """A letter changed, missing or added counts one, and so do two exchanged."""
    assert edit_distance(first, second, limit=9) == edit_distance(second, first, limit=9) == number
    assert edit_distance(first, second, limit=1) == min(number, 2)
