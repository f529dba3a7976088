"""
Settings: declared once, here, with a sentence each.

The environment (`MOORING_*`) wins over `mooring.toml` in the working directory (or the file that MOORING_CONFIG
names), which wins over the default. `serve` reads them once and passes values on.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from mooring.errors import BadRequest
from mooring.kit.addresses import parse_networks
from mooring.kit.egress import Egress, read_rules
from mooring.kit.rates import parse_rate


def _rate(text: str) -> str:
    parse_rate(text)
    return text


def _networks(text: str) -> str:
    parse_networks(text)
    return text


RateText = Annotated[str, AfterValidator(_rate)]
NetworksText = Annotated[str, AfterValidator(_networks)]


class Settings(BaseSettings):
    """Every setting of every Mooring process."""

    model_config = SettingsConfigDict(env_prefix="MOORING_", extra="ignore", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address that the control plane listens on.")
    port: int = Field(8080, ge=0, le=65535, description="Port that the control plane listens on; 0 picks a free one.")
    data_dir: Path = Field(Path("mooring-data"), description="Folder for the database, keys and sockets.")
    url: str = Field("http://127.0.0.1:8080", description="Control plane that workers and the command line talk to.")
    token: SecretStr | None = Field(None, description="Personal API access token for the command line.")
    admin_token: SecretStr | None = Field(
        None, description="The administrator's token of the first start, if it shall not be random."
    )
    master_key: SecretStr | None = Field(
        None, description="The master key, 32 bytes in base64; without it, <data-dir>/master.key."
    )
    key_provider: Literal["auto", "file", "environment", "kms"] = Field(
        "auto",
        description="Where the master key is: in MOORING_MASTER_KEY if that is set, else in a file; or in a key service (kms).",
    )
    key_file: Path | None = Field(None, description="File with the master key, in place of <data-dir>/master.key.")
    new_master_key: SecretStr | None = Field(
        None, description="The next master key, for `mooring keys rewrap --to-environment` alone."
    )
    kms_key_id: str | None = Field(None, description="Key of the key service: its id, ARN or alias.")
    kms_endpoint: str | None = Field(None, description="URL of the key service, if it is not AWS's own of the region.")
    kms_region: str | None = Field(None, description="Region of the key service; else the ARN's, else AWS_REGION.")
    kms_access_key_id: str | None = Field(None, description="Who asks the key service; else AWS_ACCESS_KEY_ID.")
    kms_secret_access_key: SecretStr | None = Field(None, description="Its secret; else AWS_SECRET_ACCESS_KEY.")
    kms_session_token: SecretStr | None = Field(None, description="Its session's token; else AWS_SESSION_TOKEN.")
    enrol_token: SecretStr | None = Field(None, description="One-time token that a new worker enrols with.")
    environment: str = Field("development", description="Environment that a worker belongs to.")
    types: str = Field(
        "", description="Connection types of this process: names with commas; a leading - leaves one out."
    )
    ca_file: Path | None = Field(
        None, description="Certificates (PEM) that workers and the command line trust beside the system's."
    )
    wait_seconds: float = Field(
        10, ge=0, le=30, description="How long create, update and delete wait for workers by default."
    )
    max_body_bytes: int = Field(256 * 1024, ge=1024, description="Largest request body.")
    tls_certificate: Path | None = Field(
        None, description="The control plane's certificate and its chain (PEM); with it, the port speaks TLS."
    )
    tls_key: Path | None = Field(
        None, description="The key of that certificate (PEM); by default it is in the same file."
    )
    tls_terminated_elsewhere: bool = Field(
        False, description="That something in front terminates TLS: the port may speak plain HTTP beyond loopback."
    )
    allow_plain_http: bool = Field(
        False, description="Whether workers and the command line may use a plain `http://` URL beyond loopback."
    )
    trusted_proxies: NetworksText = Field(
        "", description="Addresses or CIDRs, with commas, of proxies whose X-Forwarded-For is believed."
    )
    failed_logins_per_minute: int = Field(
        30, ge=1, description="Failed authentications that an address, or a token id, has free in a minute; then 429."
    )
    rate_per_token: RateText = Field(
        "", description="Requests that one token may make, such as `100/s` or `600/m burst 50`; no limit by default."
    )
    rate_per_address: RateText = Field(
        "", description="Requests that one address may make, written likewise; no limit by default."
    )
    rate_of_tests: RateText = Field(
        "300/m", description="Tests that one token, project or connection may have made by workers; empty for no limit."
    )
    idle_seconds: float = Field(
        300, ge=1, description="A worker gives back sockets and threads of a connection unused for so long."
    )
    linux_script: bool = Field(
        False, description="Whether this worker may run scripts on other machines (`linux-script` connections)."
    )
    logback_root: Path | None = Field(
        None, description="Folder below which this worker may write log files (`logback` connections); none by default."
    )
    secret_env_prefix: str = Field(
        "", description="Environment variables that `${env:NAME}` may name on this worker begin so; none by default."
    )
    secret_files: Path | None = Field(
        None, description="Folder below which `${file:path}` may name files on this worker; none by default."
    )
    secret_refresh_seconds: float = Field(
        300, ge=5, description="How often a worker looks whether secrets that live elsewhere have changed there."
    )
    vault_url: str = Field("", description="Vault or OpenBao, where `${vault:path#key}` leads on this worker.")
    vault_token: SecretStr | None = Field(None, description="Token for Vault.")
    vault_token_file: Path | None = Field(
        None, description="File with the token for Vault, read again when it is refused."
    )
    vault_role_id: str | None = Field(None, description="AppRole with which this worker logs in to Vault.")
    vault_secret_id_file: Path | None = Field(None, description="File with the secret id of that AppRole.")
    vault_approle_mount: str = Field("approle", description="Where Vault has the AppRole login.")
    vault_namespace: str | None = Field(None, description="Namespace in Vault.")
    vault_mount: str = Field("secret", description="Where Vault has its KV engine, version 2.")
    vault_prefix: str = Field(
        "{project}/",
        description="Goes before the path of every reference to Vault; {project} in it is the project of the connection.",
    )
    vault_ca_file: Path | None = Field(
        None, description="Certificates (PEM) that Vault's must lead to, beside the system's."
    )
    egress_allow: str = Field(
        "",
        description="Where this worker may connect to, and nowhere else: addresses, ranges and host names"
        " (`*.example.com` too) with commas; everywhere by default.",
    )
    egress_deny: str = Field(
        "", description="Where this worker may not connect to, whatever else allows it; written like the former."
    )
    egress_loopback: bool = Field(False, description="Whether this worker may connect to its own machine.")
    breaker_enabled: bool = Field(
        False, description="Whether connections that do not say so themselves have a circuit breaker."
    )
    breaker_window_seconds: float = Field(
        10, ge=1, le=3600, description="Failures within so long open a circuit breaker."
    )
    breaker_errors: int = Field(
        5, ge=1, le=10_000, description="Failures that open a circuit breaker, if the connection does not say."
    )
    breaker_sleep_seconds: float = Field(
        30, ge=1, le=3600, description="How long a circuit breaker stays open, if the connection does not say."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level of events that are written."
    )

    @field_validator("egress_allow", "egress_deny")
    @classmethod
    def _is_a_list_of_places(cls, value: str) -> str:
        read_rules(value)
        return value

    @property
    def egress(self) -> Egress:
        """Where this worker may connect to."""
        return Egress.read(self.egress_allow, self.egress_deny, self.egress_loopback)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = Path(os.environ.get("MOORING_CONFIG", "mooring.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)


def read_settings(**given: Any) -> Settings:
    """The settings, with what is *given* on top. Raises `BadRequest`, which names what is wrong and never shows its value."""
    file = os.environ.get("MOORING_CONFIG")
    if file is not None and not Path(file).exists():
        raise BadRequest("the file that MOORING_CONFIG names is not there", hint="Correct the path, or unset it.")
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as exc:
        problems = exc.errors(include_input=False, include_context=False, include_url=False)
        names = ", ".join(
            f"MOORING_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
            for problem in problems
        )
        raise BadRequest(f"a setting is not valid: {names}", hint="mooring settings shows all of them.") from None
    except tomllib.TOMLDecodeError as exc:
        raise BadRequest(f"{file or 'mooring.toml'} is not valid TOML: {exc}", hint="Correct the file.") from None
