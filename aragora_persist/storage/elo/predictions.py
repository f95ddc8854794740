"""How predictions are kept and counted. Leaves out: what they say of an agent (``calibration``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from aragora_persist.errors import ConflictError
from aragora_persist.storage.elo.calibration import Calibration, Prediction, calibrate
from aragora_persist.storage.rows import stored_time

if TYPE_CHECKING:
    from aragora_persist.storage.elo.calibration import Counted
    from aragora_persist.storage.port import Reader, Transaction

_PREDICTION_COLUMNS = "debate_id, agent_name, domain, confidence, correct, recorded_at"
_ADD_PREDICTION = f"""
    INSERT INTO calibration ({_PREDICTION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (debate_id, agent_name) DO NOTHING
"""  # noqa: S608 - constants of this module
_PREDICTION = f"""
    SELECT {_PREDICTION_COLUMNS} FROM calibration WHERE debate_id = ? AND agent_name = ?
"""  # noqa: S608 - as above
_PREDICTIONS = """
    SELECT confidence, correct, COUNT(*) FROM calibration WHERE agent_name = ? AND (domain = ? OR ? = '')
    GROUP BY confidence, correct ORDER BY confidence, correct
"""


def predict(new: tuple[str, str, str, float, int, str], tx: Transaction) -> Prediction:
    """Keep a prediction, a row of ``_PREDICTION_COLUMNS``; one that stands there as it is told again changes nothing.

    Raises:
        ConflictError: something else was noted for this agent in this debate.

    """
    tx.execute(_ADD_PREDICTION, new)
    row = tx.one(_PREDICTION, new[:2])
    if row is None or row[2:5] != new[2:5]:
        raise ConflictError(
            "elo.record_calibration", new[0], "was recorded with another prediction", hint="a debate counts once"
        )
    debate_id, agent_name, domain, confidence, correct, _ = new
    moment = stored_time(row[5], f"prediction in {debate_id}", "recorded_at")
    return Prediction(debate_id, agent_name, domain, confidence, bool(correct), moment)


def calibration_of(view: Reader, agent_name: str, domain: str) -> Calibration:
    """Return the calibration of an agent in a domain ('' is all domains)."""
    rows = view.all(_PREDICTIONS, (agent_name, domain, domain))
    return calibrate(agent_name, domain, cast("list[Counted]", rows))
