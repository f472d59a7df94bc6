"""The frozen records that pass between rooms; metadata.json, registry.json and --json are made of them."""

from modelbook.records.gate import (
    EvaluationReport,
    GateCheck,
    GateDecision,
    GateVerdict,
)
from modelbook.records.record import (
    Record,
)
from modelbook.records.runs import (
    Candidate,
    CodeFile,
    CodeState,
    ColumnSummary,
    DataVersion,
    Environment,
    InputColumn,
    Lineage,
    ModelRecord,
    ModelVersion,
    Outcome,
    RejectedRows,
    RunMetadata,
    Stage,
    StageResult,
    StageStatus,
    Trial,
    ValidationReport,
)

__all__ = [
    "Candidate",
    "CodeFile",
    "CodeState",
    "ColumnSummary",
    "DataVersion",
    "Environment",
    "EvaluationReport",
    "GateCheck",
    "GateDecision",
    "GateVerdict",
    "InputColumn",
    "Lineage",
    "ModelRecord",
    "ModelVersion",
    "Outcome",
    "Record",
    "RejectedRows",
    "RunMetadata",
    "Stage",
    "StageResult",
    "StageStatus",
    "Trial",
    "ValidationReport",
]
