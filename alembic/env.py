"""The Alembic environment of clarinet-cli."""

from clarinet_cli.services.schema.runner import run_environment

run_environment()
