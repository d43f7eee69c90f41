"""The settings that the supervisor gives to each service."""

from __future__ import annotations

import json

from flare_client.services.addresses import Addresses
from flare_client.services.data_directory import DataDirectory

ML_IDENTITY = "ml-server"
ML_SCOPES = ("auth.delegate", "datasets.read", "datasets.write")


def environments(data: DataDirectory, addresses: Addresses, drain_seconds: float) -> dict[str, dict[str, str]]:
    """The environment variables of each service, by its name.

    Variables that are set already, such as `FLARE_SCRAPER_KAGGLE_ENDPOINT`, reach the services too; these go first.
    """
    issuer = f"http://{addresses.auth_http}"
    listen = {"auth": addresses.auth, "scraper": addresses.scraper, "ml": addresses.ml}
    settings = {
        service: {
            "LISTEN_ADDRESS": address,
            "DATA_DIRECTORY": str(data.state_of(service)),
            "DRAIN_SECONDS": str(drain_seconds),
            "TOKEN_ISSUER": issuer,
            "JWKS_URL": f"{issuer}/.well-known/jwks.json",
        }
        for service, address in listen.items()
    }
    settings["auth"] |= {
        "HTTP_ADDRESS": addresses.auth_http,
        "ADMIN_PASSWORD_FILE": str(data.admin_password_file),
        "BOOTSTRAP_SERVICES": json.dumps([f"{ML_IDENTITY}={data.ml_secret_file}={','.join(ML_SCOPES)}"]),
    }
    settings["scraper"] |= {"CREDENTIALS_KEYS_FILE": str(data.credentials_keys_file)}
    settings["ml"] |= {
        "SCRAPER_ADDRESS": addresses.scraper,
        "TOKEN_URL": f"{issuer}/oauth2/token",
        "SERVICE_IDENTITY": ML_IDENTITY,
        "SERVICE_SECRET_FILE": str(data.ml_secret_file),
    }
    return {
        service: {f"FLARE_{service.upper()}_{name}": value for name, value in values.items()}
        for service, values in settings.items()
    }
