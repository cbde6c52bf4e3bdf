"""Decorated functions: awaited, with a blocking form beside."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from .contracts import Store
from .dedup import Dedup
from .errors import ConfigError
from .portal import call_in_portal, shared
from .threads import refuse_generator

__all__ = ["Decorated", "decorated", "scope_of"]

P = ParamSpec("P")
Q = ParamSpec("Q")
T_co = TypeVar("T_co", covariant=True)
Object = TypeVar("Object")

Perform = Callable[[Dedup, tuple[Any, ...], dict[str, Any]], Awaitable[Any]]
"""Does what a call with these arguments asks for."""


class Decorated(Protocol[P, T_co]):
    """A function under :func:`deduplicate` or :func:`idempotent`."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Call the function if it is to be called, and return what its decorator says."""

    def sync(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Do the same from code without an event loop, and block until it has ended.

        A :class:`Dedup` that is running, such as the middleware's, and a store object that is in
        use are asked on their own event loop, from any other thread. A URL's store then lives on an
        event loop in a thread of its own, as does a store object that is not in use yet: async code
        on another loop is refused that object from then on, with a :class:`ConfigError`.

        Of a ``@classmethod`` it is ``C.f.__func__.sync(C, …)`` from Python 3.13 on, and may be so
        before: a class method's attributes are not told the class there.
        """

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Decorated[P, T_co]: ...
    @overload
    def __get__(
        self: Decorated[Concatenate[Object, Q], T_co], instance: Object, owner: Any = None
    ) -> Decorated[Q, T_co]: ...


def decorated(function: Callable[..., Any], store: Dedup | Store | str, perform: Perform) -> Any:
    """Return the :class:`Decorated` that performs over a store in place of a function.

    Raises:
        ConfigError: The function is a generator, or what ``@staticmethod`` or ``@classmethod``
            made: bound to an object it would be given that as its first argument, or none at all.
    """
    refuse_generator(function)
    if isinstance(function, (staticmethod, classmethod)):
        raise ConfigError(
            f"{function.__qualname__} is decorated above @{type(function).__name__}, and would "
            f"lose what that does; write @{type(function).__name__} above the other decorator"
        )

    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        return await perform(await shared(store), args, kwargs)

    def sync(*args: Any, **kwargs: Any) -> Any:
        return call_in_portal(store, lambda dedup: perform(dedup, args, kwargs))

    made: Any = run  # a true function, by which Starlette tells endpoints from apps
    made.sync = sync
    _keep_signature(made, function)
    return _Method(made) if _stands_in_class(function) else made


def scope_of(function: Callable[..., Any], given: str | None) -> str:
    """Return the scope of a function's keys: the one that was given, or its qualified name.

    Raises:
        ConfigError: It has no name, as a partial or an object that is called, or that of every
            lambda.
    """
    name = getattr(function, "__qualname__", None)
    if given is None and (name is None or "<lambda>" in name):
        kind = "lambda" if name else type(function).__qualname__
        raise ConfigError(f"a {kind} has no name to be remembered by; write scope='…'")
    return given or f"{function.__module__}.{name}"


class _Method:
    """A decorated function of a class, which Python would bind to its object without ``.sync``."""

    def __init__(self, run: Any) -> None:
        functools.update_wrapper(self, run)
        self._run = run
        if _takes_class(run):
            self.sync = functools.partial(_sync_of_class, run)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(*args, **kwargs)

    def __get__(self, instance: object, owner: Any = None) -> Any:
        return self._run if instance is None else _Bound(self._run, instance)


class _Bound(functools.partial[Any]):
    """A decorated function bound to its object, as a method is, with ``.sync``.

    It is a partial because frameworks look through those: for a true function, for whether it is
    asynchronous, and for its parameters.
    """

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return await super().__call__(*args, **kwargs)

    @property
    def __self__(self) -> Any:
        return self.args[0]

    @property
    def __func__(self) -> Any:
        return self.func

    @property
    def sync(self) -> Callable[..., Any]:
        made: Any = self.func
        return functools.partial(made.sync, *self.args)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Bound):
            return NotImplemented
        return self.func is other.func and self.__self__ is other.__self__

    def __hash__(self) -> int:
        return hash((self.func, id(self.__self__)))

    def __getattribute__(self, name: str) -> Any:
        if name in functools.WRAPPER_ASSIGNMENTS:
            return getattr(super().__getattribute__("func"), name)
        return super().__getattribute__(name)


def _takes_class(run: Any) -> bool:
    return next(iter(inspect.signature(run).parameters), "") == "cls"


def _sync_of_class(run: Any, *args: Any, **kwargs: Any) -> Any:
    """Refuse a call without its class: from Python 3.13 on a class method's attributes have none.

    Raises:
        TypeError: It says how to call it.
    """
    if not args or not isinstance(args[0], type):
        name = run.__qualname__
        raise TypeError(
            f"{name}.sync(…) is not told its class by Python 3.13 or newer; write "
            f"{name}.__func__.sync({name.rpartition('.')[0]}, …)"
        )
    return run.sync(*args, **kwargs)


def _stands_in_class(function: Callable[..., Any]) -> bool:
    outer = function.__qualname__.rpartition(".")[0] if inspect.isfunction(function) else ""
    return outer != "" and not outer.endswith("<locals>")


def _keep_signature(run: Any, function: Callable[..., Any]) -> None:
    """Show a framework that injects by annotation what it would have seen.

    Under ``from __future__ import annotations`` annotations are text, which frameworks may look up
    in the module of the outer function, where the user's names are unknown.
    """
    with contextlib.suppress(Exception):  # a name that exists only for type checkers, say
        run.__signature__ = inspect.signature(function, eval_str=True)
