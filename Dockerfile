# A small image: the package in a virtual environment, run by a user without rights.
# The project directory (settings.toml, or the SQLite file) is mounted on /project.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml README.md constraints.txt ./
COPY alembic alembic
COPY clarinet_cli clarinet_cli
RUN python3 -m venv /opt/clarinet \
    && /opt/clarinet/bin/pip install --no-cache-dir --constraint constraints.txt . \
    && /opt/clarinet/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/clarinet /opt/clarinet
RUN useradd --system --uid 10001 --home-dir /project --create-home clarinet
ENV PATH=/opt/clarinet/bin:$PATH CLARINET_PROJECT=/project
USER clarinet
WORKDIR /project
ENTRYPOINT ["clarinet"]
CMD ["--help"]
