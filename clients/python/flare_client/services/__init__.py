"""Runs the three services on this machine, as child processes of one supervisor."""

from flare_client.services.addresses import Addresses, free_addresses
from flare_client.services.supervisor import Supervisor

__all__ = ["Addresses", "Supervisor", "free_addresses"]
