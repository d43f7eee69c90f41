"""`flare demo`: the whole way from a public data set to a served network."""

from flare_client.cli.demo.command import demo

__all__ = ["demo"]
