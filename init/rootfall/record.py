# SPDX-License-Identifier: MIT
"""`NamedTuple` without `import typing`, for PID 1: same class syntax, same records, none of the 18 ms.

`typing` brings `re`, `enum`, `contextlib` and ten more modules; a boot needs one thing of it. Type checkers see the real
`typing.NamedTuple`. Refuses nothing that typing accepts except methods called `__new__`.
"""

TYPE_CHECKING = False  # type checkers take any variable of this name as True; typing's own would cost the import

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from _collections import _tuplegetter as field  # the C descriptor that collections.namedtuple uses

    def _new(cls, *args, **kwargs):
        names = cls._fields
        values = list(args)
        for name in names[len(args) :]:
            if name in kwargs:
                values.append(kwargs.pop(name))
            elif name in cls._field_defaults:
                values.append(cls._field_defaults[name])
            else:
                raise TypeError(f"{cls.__name__}: no value for {name!r}")
        if kwargs or len(values) != len(names):
            raise TypeError(f"{cls.__name__}: takes {', '.join(names)}; given {args!r} and {sorted(kwargs)}")
        return tuple.__new__(cls, values)

    def _replace(self, /, **changes):
        return type(self)(**dict(zip(self._fields, self, strict=True)) | changes)

    def _getnewargs(self):
        return tuple(self)

    def _repr(self):
        inside = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({inside})"

    _SHARED = {
        "__slots__": (), "__new__": _new, "__repr__": _repr, "_replace": _replace, "__getnewargs__": _getnewargs
    }  # fmt: skip

    class _Meta(type):
        def __new__(mcs, name, bases, namespace):
            lazily = namespace.get("__annotate_func__")  # since Python 3.14 annotations are made on demand (PEP 649)
            names = tuple(lazily(1) if lazily else namespace.get("__annotations__", ()))
            defaults = {}
            for index, each in enumerate(names):
                if each in namespace:
                    defaults[each] = namespace[each]
                namespace[each] = field(index, "")
            body = _SHARED | namespace | {"_fields": names, "_field_defaults": defaults, "__match_args__": names}
            return type(name, (tuple,), body)

    NamedTuple = type.__new__(_Meta, "NamedTuple", (), {"__slots__": ()})
