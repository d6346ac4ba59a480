"""What a `.pt2` file may hold before torch is let loose on it: arithmetic on tensors, and nothing that runs code of the file's own.

`torch.export.load` (2.13) unpickles without `weights_only` whatever the archive says is pickled, evaluates its size expressions and guards as
Python, resolves operators by walking the attributes of torch, and loads compiled libraries. So every one of these is looked at first.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast

import torch

from ..runtime.errors import ModelError

_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|prim|higher_order|quantized_decomposed|torchvision)\.[a-zA-Z]\w*(\.[a-zA-Z]\w*)?"
    r"|torch\.sym_[a-z]+|_operator\.[a-z]+_?|math\.[a-z]+[0-9]*"
)
# In size expressions as torch writes them: Add(Mul(Integer(2), Symbol('s53', positive=True, integer=True)), Integer(1)).
_QUOTED = re.compile(r"Symbol\('[a-z]+[0-9]+'|L\['\w+'\]")
_PLAIN = re.compile(r"[\w\s()\[\],+\-*/%<>=!.]*")
_WORD = re.compile(r"[^\W\d]\w*")
_WORDS = re.compile(
    "Symbol|positive|integer|nonnegative|negative|True|False|None|L|size|stride|storage_offset|and|or|not|is|oo|int_oo"
    "|Add|Mul|Pow|Integer|Float|Rational|Max|Min|Mod|PythonMod|Abs|Identity|Where|FloorDiv|CleanDiv|CeilDiv|ModularIndexing|PowByNatural"
    "|FloatPow|IntTrueDiv|FloatTrueDiv|ToFloat|TruncToInt|RoundToInt|FloorToInt|CeilToInt|RoundDecimal|TruncToFloat|floor|ceiling|sqrt"
    "|Eq|Ne|Lt|Le|Gt|Ge|Equality|Unequality|StrictLessThan|LessThan|StrictGreaterThan|GreaterThan|And|Or|Not"
    "|[a-z]{1,3}[0-9]+"  # symbols: s53, u0
)
_PAYLOAD = re.compile(r"(weight|tensor)_[0-9]+")
_SAVE = "save the program again with torch.export.save, or load it yourself and call to_onnx(Program(program, spec), ...)"


class _Reader(Protocol):
    def get_all_records(self) -> list[str]: ...
    def get_record(self, name: str) -> bytes: ...


def check_archive(path: Path) -> None:
    """Refuse a file that is no `torch.export` program, or one that could run code while it is loaded.

    Raises:
        ModelError: It is something else (which is told), is damaged, or holds pickled objects, compiled code, operators outside torch's own,
            or sizes that are no arithmetic.
    """
    _check_kind(path)
    try:
        # torch's own reader: another one could see other entries in an archive that is made to deceive.
        reader = cast("_Reader", torch._C.PyTorchFileReader(str(path)))  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        names = reader.get_all_records()
        _check_entries(names, path)
        configs = [name for name in names if name.startswith(("data/weights/", "data/constants/")) and name.endswith("_config.json")]
        for name in configs:
            _check_payloads(json.loads(reader.get_record(name)), path)
        for name in names:
            if name.startswith("models/"):
                _check_program(json.loads(reader.get_record(name)), path)
            elif name.startswith("data/sample_inputs/"):
                _check_samples(reader.get_record(name), path)
    except (RuntimeError, ValueError, RecursionError) as error:
        raise ModelError("the torch.export program is damaged", f"{path} ({str(error)[:100]})", "save it again") from error


def _check_kind(path: Path) -> None:
    """Tell a program from what else torch writes under the same endings."""
    if not path.is_file():
        raise ModelError("the file does not exist", path, "check the path")
    names = _entries(path)
    if not names:
        kind, fix = "no torch.export program, nor any archive of torch's", "save it with torch.export.save(program, path)"
    elif any(name.endswith("/constants.pkl") for name in names):
        kind = "a TorchScript archive (torch.jit.save), not a torch.export program"
        fix = (
            "export the module that it was made from: package.module:function with --weights, or torch.export.export and torch.export.save"
        )
    elif any(name.endswith("/data.pkl") for name in names):
        kind = "a pickled checkpoint (torch.save), not a torch.export program"
        fix = "name the function that builds the model, package.module:function, and give a state dict as --weights"
    elif not any(name.endswith("/archive_format") for name in names):
        kind, fix = "no torch.export program that this torch reads", f"save it again with torch {torch.__version__.split('+')[0]}"
    else:
        return
    raise ModelError(f"the file is {kind}", path, fix)


def _entries(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []


def _check_entries(names: Sequence[str], path: Path) -> None:
    if any(name.startswith("data/aotinductor/") for name in names):
        raise _refused(path, "compiled machine code (AOTInductor)")
    if [name for name in names if name.startswith("models/")] != ["models/model.json"]:
        raise ModelError("the archive does not hold exactly one program", path, "save it with torch.export.save(program, path)")
    if any(name.startswith(("data/weights/", "data/constants/")) and name.endswith(".pt") for name in names):
        raise _refused(path, "pickled weights, as older versions of torch wrote them")


def _check_payloads(config: object, path: Path) -> None:
    for one in _records(config):
        # torch unpickles what is named custom_obj_0 or opaque_obj_0, whatever stands beside it.
        if one.get("use_pickle") not in (None, False) or not _PAYLOAD.fullmatch(str(one.get("path_name", "weight_0"))):
            raise _refused(path, f"pickled objects ({str(one.get('path_name'))[:60]!r})")


def _check_program(program: object, path: Path) -> None:
    for one in _records(program):
        for key in ("target", "as_operator"):
            if isinstance(text := one.get(key), str) and not _OPERATOR.fullmatch(text):
                raise _refused(path, f"an operator that is not torch's own ({text[:60]!r})")
        guards = one.get("guards_code")
        ranges = one.get("range_constraints")
        sizes = [one.get("expr_str"), *(guards if isinstance(guards, list) else []), *(ranges if isinstance(ranges, dict) else [])]
        for text in sizes:
            if text is not None and not _is_arithmetic(text):
                raise _refused(path, f"a size that is no arithmetic ({str(text)[:60]!r})")
        if any(isinstance(text, str) and "__enum__" in text for text in one.values()):
            raise _refused(path, "a class of another module")


def _check_samples(content: bytes, path: Path) -> None:
    """Refuse example inputs that torch would fall back to unpickling without `weights_only` for."""
    if not content:
        return
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    # What a pickle raises is what its bytes say.
    except Exception as error:
        raise _refused(path, "example inputs that are pickled objects") from error


def _is_arithmetic(text: object) -> bool:
    if not isinstance(text, str):
        return False
    bare = _QUOTED.sub("Symbol(", text)
    return bool(_PLAIN.fullmatch(bare)) and all(_WORDS.fullmatch(word) for word in _WORD.findall(bare))


def _records(value: object) -> Iterator[dict[str, object]]:
    """Yield every JSON object inside a value, at any depth."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            record = cast("dict[str, object]", one)
            yield record
            waiting.extend(record.values())
        elif isinstance(one, list):
            waiting.extend(cast("list[object]", one))


def _refused(path: Path, what: str) -> ModelError:
    return ModelError("the program could run code while it is loaded", f"{path} holds {what}", f"if you trust it: {_SAVE}")
