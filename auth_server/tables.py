"""The tables of the authorization service."""

from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table

from servicekit.database import UtcDateTime

metadata = MetaData()

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", String(64), primary_key=True),
    Column("display_name", String(200), nullable=False),
    Column("scopes", String(2000), nullable=False),  # separated by spaces, as in the tokens
    Column("disabled", Boolean, nullable=False),
    Column("password_hash", String(200), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
)

service_identities = Table(
    "service_identities",
    metadata,
    Column("identity_id", String(64), primary_key=True),
    Column("display_name", String(200), nullable=False),
    Column("scopes", String(2000), nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
)

# One row a login. A refresh token that is not the row's newest was used before.
logins = Table(
    "logins",
    metadata,
    Column("login_id", String(64), primary_key=True),
    Column("subject", String(255), nullable=False, index=True),
    Column("token_hash", String(64), nullable=False),
    Column("idle_end_time", UtcDateTime, nullable=False, index=True),
    Column("end_time", UtcDateTime, nullable=False, index=True),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("sealed_private_key", String(1000), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("signs", Boolean, unique=True),  # true or null, so that there is at most one that signs
    Column("withdraw_time", UtcDateTime),  # when the last token that it signed has ended; null while it signs
)
