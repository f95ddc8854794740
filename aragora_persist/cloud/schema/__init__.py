"""The cloud half's schema: applying `supabase/migrations` to a project's database, and telling what differs there.

Needs the extra `supabase`. Leaves out: the rows (`cloud/connection`), and the databases of the SQLite half
(`aragora_persist.migrations`).
"""

from aragora_persist.cloud.schema.apply import apply_schema, inspect_schema
from aragora_persist.cloud.schema.connecting import NOT_THERE, database_url
from aragora_persist.cloud.schema.plan import SchemaState

__all__ = ["NOT_THERE", "SchemaState", "apply_schema", "database_url", "inspect_schema"]
