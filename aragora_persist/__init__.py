"""The persistence tier of an Aragora deployment.

Stores have one name, that of their module, as documented: ``from aragora_persist.storage.user_store import UserStore``.
Here stands what is no store; each name is imported when it is first used, so that importing the package costs nothing.
"""

from aragora_persist.version import VERSION as __version__  # noqa: N811 - the name that tools look for

TYPE_CHECKING = False  # as in typing, which would have to be imported
if TYPE_CHECKING:
    from aragora_persist.cloud.models import (
        AgentMetrics,
        CycleEvolution,
        CycleFileChange,
        DebateArtifact,
        NomicCycle,
        NomicRollback,
        StreamEvent,
    )
    from aragora_persist.errors import PersistError
    from aragora_persist.settings import Durability, Settings
    from aragora_persist.status import Status, collect_status
    from aragora_persist.supabase_client import SupabaseClient

__all__ = [
    "AgentMetrics",
    "CycleEvolution",
    "CycleFileChange",
    "DebateArtifact",
    "Durability",
    "NomicCycle",
    "NomicRollback",
    "PersistError",
    "Settings",
    "Status",
    "StreamEvent",
    "SupabaseClient",
    "__version__",
    "collect_status",
]

_HOMES = {
    "AgentMetrics": "cloud.models",
    "CycleEvolution": "cloud.models",
    "CycleFileChange": "cloud.models",
    "DebateArtifact": "cloud.models",
    "Durability": "settings",
    "NomicCycle": "cloud.models",
    "NomicRollback": "cloud.models",
    "PersistError": "errors",
    "Settings": "settings",
    "Status": "status",
    "StreamEvent": "cloud.models",
    "SupabaseClient": "supabase_client",
    "collect_status": "status",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only who asks pays for it

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
