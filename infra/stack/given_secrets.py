"""The secrets that an operator gives a stack, looked at before anything changes.

Pulumi's program would find out only after the settings were kept, and a wrong identity only a sidecar that gets nothing
proved. Leaves out: the secrets that are made here (``files``), and whether the bucket's server takes the key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.backup.encryption import public_keys
from aragora_persist.errors import InvalidValueError
from infra.naming import PROJECT
from infra.settings import HOSTED_URL, IDENTITY, OFFSITE_KEY, check_hosted, missing_secret
from infra.values import OPERATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.settings import StackSettings


def check_given_secrets(wanted: StackSettings, secrets: Mapping[str, str]) -> None:
    """Refuse settings that the stack's ``secrets`` do not fit.

    Raises:
        InvalidValueError: one is missing or damaged, or is another's.

    """
    if wanted.backups.uses_a_bucket and not secrets.get(OFFSITE_KEY):
        raise missing_secret(OFFSITE_KEY)
    if HOSTED_URL in secrets:
        check_hosted(wanted)
    if wanted.backups.recipients:
        _check_identity(wanted.backups.recipients, secrets.get(IDENTITY, ""))


def _check_identity(recipients: tuple[str, ...], text: str) -> None:
    """Refuse an identity that could not read what is encrypted from now on."""
    try:
        known = public_keys(text)
    except InvalidValueError as error:
        hint = "write it anew, as age-keygen gave it: AGE-SECRET-KEY-1…, several with \\n between them"
        raise InvalidValueError(OPERATION, f"{PROJECT}:{IDENTITY}", error.problem, hint=hint) from error
    if not known:
        raise missing_secret(IDENTITY)
    if set(known).isdisjoint(recipients):
        problem = "is of none of the recipients: no backup could be proved"
        hint = f"have its public key {known[0]} among those of backupRecipients"
        raise InvalidValueError(OPERATION, f"{PROJECT}:{IDENTITY}", problem, hint=hint)
