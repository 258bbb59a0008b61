"""The public names: sorted, importable, complete, and owned by public modules."""

from __future__ import annotations

import inspect
import pkgutil
import typing

import pytest

import kvmstream
import kvmstream.errors


def test_all_is_sorted_and_everything_resolves() -> None:
    assert kvmstream.__all__ == sorted(kvmstream.__all__)
    for name in kvmstream.__all__:
        assert getattr(kvmstream, name) is not None, name
    assert set(kvmstream.__all__) <= set(dir(kvmstream))


def test_the_whole_error_tree_is_public() -> None:
    for name in kvmstream.errors.__all__:
        error = getattr(kvmstream, name)
        assert name in kvmstream.__all__
        assert issubclass(error, kvmstream.KvmStreamError)
        assert name in (kvmstream.errors.__doc__ or "")


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Streem'"):
        _ = kvmstream.Streem


def test_public_classes_and_functions_are_documented_and_annotated() -> None:
    for name in kvmstream.__all__:
        value = getattr(kvmstream, name)
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        assert inspect.getdoc(value), name
        functions = [value] if inspect.isfunction(value) else _own_methods(value)
        for function in functions:
            signature = inspect.signature(function)
            label = f"{name}.{function.__name__}"
            assert signature.return_annotation is not inspect.Signature.empty, label
            for parameter in signature.parameters.values():
                if parameter.name != "self":
                    assert parameter.annotation is not inspect.Parameter.empty, label


def _own_methods(cls: type) -> list[typing.Any]:
    methods = [value for value in vars(cls).values() if inspect.isfunction(value)]
    return [method for method in methods if not method.__name__.startswith("_")]


def test_modules_are_private_or_have_all() -> None:
    for module in pkgutil.iter_modules(kvmstream.__path__):
        if module.name.startswith("_") or module.name in ("cli", "agent", "hub", "wire"):
            continue
        loaded = __import__(f"kvmstream.{module.name}", fromlist=["__all__"])
        assert loaded.__all__ == sorted(loaded.__all__), module.name


def test_py_typed_is_shipped() -> None:
    from importlib.resources import files

    assert (files("kvmstream") / "py.typed").is_file()
