"""A PyTorch module from a file of the user's own. It is imported here and nowhere else."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_client.cli.failures import CommandError

if TYPE_CHECKING:
    import torch


def module_from_file(text: str, arguments: dict[str, Any]) -> torch.nn.Module:
    """The module that `FILE.py:NAME` names: a class or function is called with the arguments.

    Raises:
        CommandError: There is no such file or name, calling it fails, or it gives no torch.nn.Module.
    """
    file, separator, name = text.rpartition(":")
    path = Path(file)
    if not separator or not name.isidentifier():
        raise CommandError(f"{text!r} is not of the form FILE.py:ClassName")
    if not path.is_file():
        raise CommandError(f"there is no file {path}")
    import torch

    found = getattr(_imported(path), name, None)
    if found is None:
        raise CommandError(f"{path} has no {name!r}")
    if isinstance(found, torch.nn.Module):
        return found
    try:
        module = found(**arguments)
    except Exception as error:  # whatever the user's own code raises
        raise CommandError(
            f"{name} of {path} can't be made: {type(error).__name__}: {error} (arguments go with --argument NAME=VALUE)"
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise CommandError(f"{name} of {path} gives a {type(module).__name__}, not a torch.nn.Module")
    return module


def _imported(path: Path) -> object:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.path.insert(0, str(path.parent.absolute()))  # its own imports from beside it
    sys.modules[path.stem] = module
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # whatever the user's own code raises
        raise CommandError(f"{path} can't be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    return module
