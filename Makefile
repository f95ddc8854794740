# Every target is one command; `make check` is what CI runs.
.PHONY: check lint format types test schema async catalog docs requirements keep-release
PYTHON := .venv/bin/python

check:
	scripts/test

lint types:
	scripts/test $@

test:
	scripts/test tests

format:
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# After a new migration: the schema that all migrations of a database make, as a file that a reviewer can read.
schema:
	$(PYTHON) -m aragora_persist.migrations.schema_files --write

# After a change of a store: its twin for event loops.
async:
	$(PYTHON) scripts/generate_async.py

# After a new Supabase migration: what it makes, as a file that a reviewer can read. SUPABASE_DB_URL names the server whose
# scratch database is used, such as that of the stack dev.
catalog:
	$(PYTHON) -m aragora_persist.cloud.schema.catalog_files --write

# After a change of the command line or of an environment variable: the reference pages.
docs:
	$(PYTHON) scripts/generate_docs.py

# After a change of uv.lock: what the image installs.
requirements:
	uv export --frozen --all-extras --no-default-groups --no-emit-project --no-header --format requirements.txt -q -o docker/persist/requirements.txt

# With a release, when its version and its changelog are staged: its library and contract suite, to be run on every
# newer schema. The archive belongs into the release's own commit.
keep-release:
	$(PYTHON) scripts/keep_release.py
