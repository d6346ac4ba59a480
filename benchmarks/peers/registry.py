"""The peers by name."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import ConfigError

_HERE = Path(__file__).parent
_ONNXRUNTIME = _HERE / "peer_onnxruntime.py"


@dataclass(frozen=True, slots=True)
class Peer:
    """Another tool, or one of its methods.

    Attributes:
        script: Its stand-alone file; files that are shared share an environment.
        options: Arguments behind the three that every script takes.
    """

    script: Path
    options: tuple[str, ...] = ()


PEERS: dict[str, Peer] = {
    "onnxruntime MinMax": Peer(_ONNXRUNTIME, ("MinMax",)),
    "onnxruntime Entropy": Peer(_ONNXRUNTIME, ("Entropy",)),
    "onnxruntime Percentile": Peer(_ONNXRUNTIME, ("Percentile",)),
    "NNCF": Peer(_HERE / "peer_nncf.py"),
}


def choose_peers(names: Iterable[str]) -> dict[str, Peer]:
    """Return peers by name; a name that ends in `.py` is a file of the user's own.

    Raises:
        ConfigError: There is no such peer, or no such file.
    """
    chosen: dict[str, Peer] = {}
    for name in names:
        own = Path(name)
        if own.suffix == ".py" and own.is_file():
            chosen[own.stem] = Peer(own.resolve())
        elif name in PEERS:
            chosen[name] = PEERS[name]
        else:
            raise ConfigError("there is no such peer", repr(name), f"choose among {', '.join(PEERS)}, or give a Python file")
    return chosen
