FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --requirement requirements/build.txt \
    && python -m venv /opt/pacslite \
    && /opt/pacslite/bin/pip install --no-cache-dir --requirement requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY pacslite pacslite
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/pacslite/bin/pip install --no-cache-dir --no-deps /wheels/*.whl

FROM python:3.11-slim
RUN useradd --system --uid 10104 --create-home --home-dir /var/lib/pacslite pacslite \
    && mkdir /etc/pacslite
COPY --from=build /opt/pacslite /opt/pacslite
ENV PATH=/opt/pacslite/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PACSLITE_STORAGE__FOLDER=/var/lib/pacslite/data
USER pacslite
# Here ./pacslite.toml is /etc/pacslite/pacslite.toml.
WORKDIR /etc/pacslite
VOLUME /var/lib/pacslite
EXPOSE 11112 2762
# A real C-ECHO, from the loopback address; with access.unknown = "none" add a peer for it.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["pacslite", "echo", "localhost:11112"]
ENTRYPOINT ["pacslite"]
CMD ["serve"]
