"""What a process is given to read, and how a call ends: in a result or in one of our errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar

from headclip_med.errors import HeadClipError, own_error
from headclip_med.read.guards import out_of_memory

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class RemoteFunction(Generic[Result]):
    """A function whose module only the process that reads imports, before its time runs.

    Attributes:
        module: Where it is.
        name: What it is called there.
    """

    module: str
    name: str

    def __call__(self, *args: object, **options: object) -> Result:
        """Call it here all the same."""
        found: Callable[..., Result] = _imported(self.module, self.name)
        return found(*args, **options)

    def __reduce__(self) -> tuple[Callable[[str, str], Any], tuple[str, str]]:
        """Arrive as the function itself."""
        return _imported, (self.module, self.name)


def _imported(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


@dataclass(frozen=True)
class Task:
    """Calls of one function.

    Attributes:
        call: The function and its arguments, one for each call, pickled.
        count: How many calls.
        memory_bytes: What each may take beside the arrays that lie in files.
        seconds: What each may last, one by one.
        folder: Where relative paths begin.
    """

    call: bytes
    count: int
    memory_bytes: int
    seconds: tuple[float, ...]
    folder: str


def call(function: Callable[[Item], Result], item: Item) -> Result | HeadClipError:
    """Call a function; what it raises is given back, ours as it is and of others the kind only."""
    try:
        return function(item)
    except MemoryError:
        return out_of_memory()
    except Exception as error:
        return own_error(error)
