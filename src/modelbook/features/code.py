"""Python files imported under a name made of their content, so that two versions live side by side.

A fitted model names the module of each of its classes. Were that name `features`, two models with different
features.py would meet in one process, and the second would run the first one's code.
"""

import ast
import hashlib
import importlib.abc
import importlib.util
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import CodeType, ModuleType

from modelbook.errors import ConfigError, ModelbookError

USER_CODE = "features.py"

_HASH_LENGTH = 12
_OWN_FOLDER = Path(__file__).parent.parent
_executing = threading.RLock()  # again by the same thread: code may load other code


def load_code(path: Path, stem: str | None = None) -> ModuleType:
    """Import a Python file as `<stem>_<first 12 digits of its sha256>` and return the module.

    The module is entered in `sys.modules`; the same content is executed once, and no thread is given a module
    that another one still executes. A file that already bears its content name, as those beside a stored
    model do, keeps it.

    Args:
        path: The file.
        stem: What the name begins with; None takes the file's own name, with `modelbook_` before it where
            the file is one of Modelbook's own.

    Raises:
        ConfigError: There is no such file, or executing it fails; the file and the line are named.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "features.py"
        >>> _ = path.write_text("answer = 42")
        >>> module = load_code(path)
        >>> module.answer, module.__name__
        (42, 'features_a98686d260a4')
    """
    content = _read(path)
    name = content_name(content, stem or _stem(path))
    with _executing:
        return sys.modules[name] if name in sys.modules else _executed(name, content, path)


def _executed(name: str, content: bytes, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_loader(name, _ContentLoader(content, path), origin=str(path))
    if spec is None:  # pragma: no cover (only for a loader that cannot execute)
        raise ImportError(name)
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with user_code_errors(path, "cannot be imported"):
            spec.loader.exec_module(module)  # type: ignore[union-attr] # it is the loader given above
    except BaseException:
        del sys.modules[name]
        raise
    return module


def load_class(path: Path, name: str, *, setting: str) -> type:
    """Return a class of a Python file.

    Args:
        path: The file.
        name: The class.
        setting: The config path that names the class, for the error.

    Raises:
        ConfigError: There is no such file, it cannot be executed, or it has no such class.
    """
    module = load_code(path)
    found = getattr(module, name, None)
    if isinstance(found, type):
        return found
    classes = class_names(module)
    near = get_close_matches(name, classes, n=1)
    hint = f"did you mean {near[0]}?" if near else f"define class {name} there or change {setting}"
    there = f"its classes are {', '.join(classes)}" if classes else "it has no classes"
    raise ConfigError(
        f"{path.name} has no class {name}",
        mistakes=(f"{setting}: no class {name}; {there}",),
        where=str(path),
        hint=hint,
    )


def class_names(module: ModuleType) -> tuple[str, ...]:
    """Return the names of the classes that a module defines itself, sorted."""
    return tuple(
        sorted(
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        )
    )


def imported_modules(path: Path) -> set[str]:
    """Return the top-level names of the modules that a Python file imports, without executing it.

    Raises:
        OSError: The file cannot be read.
        SyntaxError: It is no Python.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "features.py"
        >>> _ = path.write_text("import numpy.linalg as la")
        >>> imported_modules(path)
        {'numpy'}
    """
    nodes = list(ast.walk(ast.parse(path.read_bytes())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    froms = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in plain | froms} - {""}


def content_name(content: bytes, stem: str) -> str:
    """Return the module name of a file's content.

    Example:
        >>> content_name(b"answer = 42", "features")
        'features_a98686d260a4'
    """
    mark = "_" + hashlib.sha256(content).hexdigest()[:_HASH_LENGTH]
    return stem if stem.endswith(mark) else stem + mark


@contextmanager
def user_code_errors(path: Path, what: str, *, on_rows: bool = False) -> Iterator[None]:
    """Turn an exception out of a user's file into a ConfigError with the file and the line.

    An exception that did not pass through that file is left as it is.

    Args:
        path: The file.
        what: What failed, as in "cannot be imported".
        on_rows: Whether the code was at work on rows: its message may quote them, so it is left out.

    Raises:
        ConfigError: The file's own code failed.
    """
    try:
        yield
    except ModelbookError:
        raise
    except Exception as error:
        line = _line_in(path, error)
        if line is None:
            raise
        message = type(error).__name__ if on_rows else f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"{path.name} {what}",
            mistakes=(f"line {line}: {message}",),
            where=f"{path}:{line}",
            hint=_hint(error, on_rows=on_rows),
        ) from error


def _stem(path: Path) -> str:
    return f"modelbook_{path.stem}" if path.is_relative_to(_OWN_FOLDER) else path.stem


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path.name} cannot be read",
            mistakes=(error.strerror or type(error).__name__,),
            where=str(path),
            hint="the config names a class of that file: create the file, or take the setting out",
        ) from error


def _line_in(path: Path, error: Exception) -> int | None:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1
    names = _file_names(path)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename in names]
    return lines[-1] if lines else None


def _file_names(path: Path) -> set[str]:
    # The same content may have been executed from another place first.
    if not path.is_file():
        return {str(path)}
    module = sys.modules.get(content_name(path.read_bytes(), _stem(path)))
    return {str(path), str(getattr(module, "__file__", path))}


def _hint(error: Exception, *, on_rows: bool) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"install {error.name}; a file that travels with a model can import installed packages alone"
    if on_rows:
        return "mend that line; --debug shows its whole message, which may quote rows"
    return "mend that line and run the command again"


class _ContentLoader(importlib.abc.InspectLoader):
    """Executes content already read: no bytecode is kept, as that is told apart by times, not by content."""

    def __init__(self, content: bytes, path: Path) -> None:
        self._content = content
        self._path = path

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 (the loader has one module)
        return importlib.util.decode_source(self._content)

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 (the loader has one module)
        return self.source_to_code(self._content, str(self._path))
