"""How a session uses the machine: a few named sets of ONNX Runtime's options, all in one table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .cores import usable_cores
from .errors import ConfigError

SessionOptions = Any  # onnxruntime declares no types for what comes from its native module


@dataclass(frozen=True, slots=True)
class Profile:
    """Options of a session that belong together.

    Attributes:
        name: What people type.
        purpose: What it is for, one line.
        threads: Threads of one call; None takes every core this process may use.
        arena: Keep freed memory for the next call, rather than give it back to the system.
        pattern: Allocate the intermediate results of one shape as one block.
        config: Further settings by ONNX Runtime's own keys.
    """

    name: str
    purpose: str
    threads: int | None = None
    arena: bool = True
    pattern: bool = True
    config: Mapping[str, str] = field(default_factory=dict[str, str])


# By default ONNX Runtime's threads spin for a while after each call, which saves some microseconds when the next call comes at once
# and burns a core when it comes after a pause (github.com/microsoft/onnxruntime/issues/6725).
_NO_SPINNING = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}

PROFILES: dict[str, Profile] = {
    one.name: one
    for one in (
        Profile("latency", "one call after the other, each as fast as the cores allow"),
        # Calls from several threads run side by side; threads inside a call would only wait for each other.
        Profile("throughput", "as many callers as cores, one thread for each call", threads=1, config=_NO_SPINNING),
        Profile("camera", "a call now and then, such as 10 frames a second: threads sleep in between", config=_NO_SPINNING),
        # Prepacking stays on: without it MobileNets and int8 files are slower, and ONNX Runtime frees what it has packed.
        Profile("low-memory", "memory goes back after every call", arena=False, pattern=False, config=_NO_SPINNING),
    )
}


def find_profile(name: str) -> Profile:
    """Return the profile called `name`.

    Raises:
        ConfigError: It is unknown; the choices are listed.
    """
    if name not in PROFILES:
        raise ConfigError("unknown session profile", repr(name), f"choose one of {', '.join(PROFILES)}")
    return PROFILES[name]


def thread_count(profile: Profile, threads: int | None) -> int:
    """Return how many threads one call gets: what the caller asks for, else what the profile says, else every usable core.

    Raises:
        ConfigError: Fewer than one.
    """
    if threads is not None and threads < 1:
        raise ConfigError("threads must be at least 1", threads, "leave it out to use every core")
    return threads or profile.threads or usable_cores()


def apply_(profile: Profile, threads: int, settings: SessionOptions) -> None:
    """Put a profile's options into ONNX Runtime's settings."""
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.enable_cpu_mem_arena = profile.arena
    settings.enable_mem_pattern = profile.pattern
    for key, value in profile.config.items():
        settings.add_session_config_entry(key, value)
