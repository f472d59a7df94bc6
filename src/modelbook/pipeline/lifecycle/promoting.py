"""Versions promoted and rolled back: what speaks for a move and against it, and the move itself."""

import platform
from typing import Literal

from modelbook.config import Config, ConfigLike, load_config
from modelbook.errors import GateRejectedError, ModelbookError, ModelRefusedError, NotFoundError, UsageError
from modelbook.logs import PipelineLogger, format_number
from modelbook.pipeline import layout
from modelbook.pipeline.lifecycle.judgement import find_judgement
from modelbook.pipeline.recorded import CURRENT, RecordedRun, find_recorded
from modelbook.records import GateCheck, GateVerdict, Record, RunMetadata, Stage
from modelbook.registry.books import Standing
from modelbook.registry.candidate import Candidate, find_candidate, verify_candidate
from modelbook.registry.ledger import Aliases, LedgerEntry, Mover, former_versions
from modelbook.registry.promotion import Move, open_lifecycle
from modelbook.registry.registry import ModelRegistry
from modelbook.tracking.held import read_run
from modelbook.tracking.journal import kept_runs
from modelbook.tracking.lineage import PATCH_FILE, PATCH_TAG, user_name

_STAGES: dict[str, Literal["Staging", "Production"]] = {"staging": "Staging", "production": "Production"}
_LONGEST_REASON = 1000
_COMMIT_TAG = "mlflow.source.git.commit"
_LOG = PipelineLogger("promote")


class Promotion(Record):
    """What became of a promotion or a rollback.

    Attributes:
        name: The model.
        version: The version, by MLflow's number; the local version where the project does without MLflow.
        local_version: The local registry's name of it, where it has one.
        stage: Where it is now.
        previous: The version that it took the place of.
        is_changed: Whether anything changed; False where it was there already.
        number: The number of the ledger's entry about it.
        reason: Why.
        forced: What spoke against it, and was overridden.
        gate: What the gate said of it.
        checks: The numbers behind that, those of the challenge among them.
        notes: What else there is to know.
    """

    name: str
    version: str
    local_version: str | None
    stage: Stage
    previous: str | None = None
    is_changed: bool = True
    number: int | None = None
    reason: str | None = None
    forced: tuple[str, ...] = ()
    gate: GateVerdict
    checks: tuple[GateCheck, ...] = ()
    notes: tuple[str, ...] = ()


class _Case:
    """What was found of a version: what speaks against it, the numbers, and what else is to be said."""

    def __init__(self) -> None:
        self.objections: list[str] = []
        self.checks: list[GateCheck] = []
        self.notes: list[str] = []
        self.refusal: ModelbookError | None = None


def promote(
    config: ConfigLike,
    name: str,
    version: str,
    *,
    to: Literal["staging", "production"],
    reason: str | None = None,
    is_forced: bool = False,
) -> Promotion:
    """Move a version to staging or production; whatever was there before is archived.

    Args:
        config: The project.
        name: The model.
        version: MLflow's number, the local version, or `current` for the model that lies in the project.
        to: Where to.
        reason: Why, for the ledger.
        is_forced: Whether to move it whatever speaks against it, which takes a reason.

    Raises:
        UsageError: A reason is missing or too long, or the version is in production and is to go to staging.
        NotFoundError: There is no such version.
        GateRejectedError: The gate, its record, or production's being as good speaks against it.
        ModelRefusedError: Its files are not what was recorded.
        ProjectBusyError: Another project on the same store was quicker.
        TrackingStoreError: The store cannot be used.
    """
    settings = load_config(config)
    reason = _checked_reason(reason, is_forced=is_forced)
    if to == "production":
        # skops looks for each of SciPy's functions in every module loaded before them: with MLflow, 1.5 s.
        import scipy.special  # noqa: F401
    candidate = find_candidate(settings, name, _resolved(settings, name, version))
    with open_lifecycle(settings, name) as lifecycle:
        standing = lifecycle.standing
        if _is_there(candidate, standing, to):
            return _unchanged(candidate, _STAGES[to])
        if to == "staging":
            _refuse_demotion(candidate, standing)
        run, case = _examine(settings, candidate, standing)
        if to == "production":
            _challenge(settings, candidate, run, standing=standing, case=case)
        if case.objections and not is_forced:
            raise _refused(case, candidate)
        commit = run.metadata.lineage.code.commit if run else _commit(settings, candidate)
        move = _move(candidate, commit, case, stage=_STAGES[to], reason=reason)
        return _promotion(lifecycle.move(move), case)


def roll_back(config: ConfigLike, name: str, *, reason: str | None = None) -> Promotion:
    """Bring back the version that was in production before the present one; once more goes further back.

    Raises:
        UsageError: The reason is too long.
        NotFoundError: There is no such model, or no version to go back to.
        GateRejectedError: The ledger is not whole, so nothing says for certain which version that is.
        ModelRefusedError: The version's files are not what was recorded.
        ProjectBusyError: Another project on the same store was quicker.
        TrackingStoreError: The store cannot be used.
    """
    settings = load_config(config)
    reason = _checked_reason(reason, is_forced=False)
    with open_lifecycle(settings, name) as lifecycle:
        standing = lifecycle.standing
        if standing.doubts:
            raise GateRejectedError(
                "the ledger is not whole: which version to go back to is not certain",
                where=name,
                got="; ".join(standing.doubts),
                hint="`modelbook promote NAME VERSION --to production --force --reason TEXT` names it",
            )
        candidate = find_candidate(settings, name, _before(name, standing))
        verify_candidate(settings, candidate)
        case = _Case()
        case.checks += _checks(settings, candidate)
        commit = _commit(settings, candidate)
        move = _move(candidate, commit, case, stage="Production", reason=reason, action="rollback")
        return _promotion(lifecycle.move(move), case)


def _resolved(config: Config, name: str, version: str) -> str:
    """Return the version of the model that lies in the project where that is meant."""
    if version != CURRENT:
        return version
    path = config.path(layout.METADATA)
    digest = RunMetadata.read(path).model.digest if path.is_file() else None
    entry = ModelRegistry(config).of_digest(name, digest) if digest else None
    if entry is None:
        raise NotFoundError(
            "the model that lies in the project is not registered",
            where=f"{name}: {layout.METADATA}",
            hint="`modelbook run` makes and registers it",
        )
    return entry.version


def _checked_reason(reason: str | None, *, is_forced: bool) -> str | None:
    text = (reason or "").strip() or None
    if is_forced and text is None:
        raise UsageError(
            "--force takes a reason", expected="--force --reason TEXT", hint="the ledger keeps it"
        )
    if text and len(text) > _LONGEST_REASON:
        raise UsageError(
            "the reason is too long", got=f"{len(text)} characters", expected=f"at most {_LONGEST_REASON}"
        )
    return text


def _is_there(candidate: Candidate, standing: Standing, to: str) -> bool:
    """Return whether a version is where it is to go, by the ledger's word too unless that is in doubt."""
    said = standing.entries[-1].after if standing.entries else Aliases()
    places = [getattr(standing.aliases, to), *([] if standing.doubts else [getattr(said, to)])]
    return all(place == candidate.version for place in places)


def _refuse_demotion(candidate: Candidate, standing: Standing) -> None:
    if candidate.version == standing.aliases.production:
        raise UsageError(
            "the version is in production",
            where=f"{candidate.name}/{candidate.version}",
            hint="promote another version, or `modelbook rollback` to the one before it",
        )


def _examine(config: Config, candidate: Candidate, standing: Standing) -> tuple[RecordedRun | None, _Case]:
    """Return the run that made a version, and what speaks against the version."""
    case = _Case()
    case.objections += [f"ledger: {fault}" for fault in standing.doubts]
    if candidate.verdict is not GateVerdict.PASSED:
        is_rejected = candidate.verdict is GateVerdict.REJECTED
        case.objections.append(f"gate: {'it was rejected' if is_rejected else 'it was never judged'}")
    case.checks += _checks(config, candidate)
    run = None
    try:
        verify_candidate(config, candidate)
        run = _recorded(config, candidate)
    except ModelRefusedError as error:
        case.refusal = error
        case.objections.append(f"digest: {error.what} ({error.where}: {error.got})")
    if case.refusal is None and (lack := _lack(config, candidate, run)):
        case.objections.append(f"record: {lack}")
    return run, case


def _recorded(config: Config, candidate: Candidate) -> RecordedRun | None:
    try:
        return find_recorded(config, candidate.ref, _LOG)
    except NotFoundError as error:
        _LOG.info(f"{error.what} ({error.where})")
        return None


def _checks(config: Config, candidate: Candidate) -> tuple[GateCheck, ...]:
    run_ids = (candidate.judged_run_id, candidate.run_id)
    found = find_judgement(config, candidate.digest, run_ids, verdict=candidate.verdict)
    return found.gate.checks if found else ()


def _lack(config: Config, candidate: Candidate, run: RecordedRun | None) -> str | None:
    """Return what the record lacks of the code that a version was made with; None where it has all of it."""
    if run is not None:
        code = run.metadata.lineage.code
        commit, is_dirty, has_patch = code.commit, code.is_dirty, code.patch is not None
        if code.patch_omitted:
            return f"it leaves out what was not committed of {', '.join(code.patch_omitted)}"
    else:
        tags = candidate.run_tags
        commit, is_dirty = tags.get(_COMMIT_TAG), tags.get("modelbook.git.dirty") == "true"
        has_patch = PATCH_TAG in tags and _has_file(config, candidate, PATCH_FILE)
    if commit is None:
        return "it names no commit: nothing says which code the version was made with"
    if is_dirty and not has_patch:
        return "code or settings differed from the commit, and it lacks the difference"
    return None


def _commit(config: Config, candidate: Candidate) -> str | None:
    """Return the commit that a version was made from, by its run's tags or by the journal."""
    uid = candidate.local.uid if candidate.local else None
    kept = (run.lineage.code.commit for run in kept_runs(config) if run.uid == uid)
    return candidate.run_tags.get(_COMMIT_TAG) or next(kept, None)


def _has_file(config: Config, candidate: Candidate, name: str) -> bool:
    held = read_run(config, candidate.run_id, names={name}) if candidate.run_id else None
    return held is not None and name in held.files


def _challenge(
    config: Config, candidate: Candidate, run: RecordedRun | None, *, standing: Standing, case: _Case
) -> None:
    """Hold a version against the one in production, if there is one."""
    champion = _champion(candidate, standing)
    if champion is None:
        case.notes.append("no version is in production yet: there is none to hold it against")
        return
    if run is None:
        case.objections.append("challenge: what it predicted for its test rows is not on record")
        return
    from modelbook.pipeline.lifecycle.contest import hold_contest

    contest = hold_contest(config, run, champion=f"models:/{candidate.name}/{champion}", log=_LOG)
    if contest.check is None:
        case.objections.append(f"challenge: {contest.obstacle}")
        return
    case.checks.append(contest.check)
    case.notes += [contest.check.note] if contest.check.note else []
    if not contest.check.passed:
        case.objections.append(f"challenge: {_shortfall(contest.check)}")


def _champion(candidate: Candidate, standing: Standing) -> str | None:
    """Return the version in production; what the ledger says is, where the candidate got there past it."""
    champion = standing.aliases.production
    if champion != candidate.version:
        return champion
    said = standing.entries[-1].after.production if standing.entries else None
    return said if said and standing.has(said) else None


def _shortfall(check: GateCheck) -> str:
    numbers = (check.value, check.lower, check.upper)
    value, lower, upper = ("-" if number is None else format_number(number) for number in numbers)
    limit = f"below {check.max:g}" if check.max is not None else f"above {check.min or 0.0:g}"
    return (
        f"not better than production beyond chance: {check.metric} {value} ({lower} to {upper}, not {limit})"
    )


def _refused(case: _Case, candidate: Candidate) -> ModelbookError:
    kind = GateRejectedError if case.refusal is None else ModelRefusedError
    return kind(
        "the version is not promoted",
        where=f"{candidate.name}/{candidate.version}",
        got="; ".join(case.objections),
        hint="`--force --reason TEXT` promotes it all the same, and the ledger says so",
    )


def _move(
    candidate: Candidate,
    commit: str | None,
    case: _Case,
    *,
    stage: Literal["Staging", "Production"],
    reason: str | None,
    action: Literal["promote", "rollback"] = "promote",
) -> Move:
    return Move(
        who=Mover(user=user_name(), host=platform.node()),
        action=action,
        version=candidate.version,
        local_version=candidate.local.version if candidate.local else None,
        digest=candidate.digest,
        run_id=candidate.run_id,
        commit=commit,
        stage=stage,
        reason=reason,
        forced=tuple(case.objections),
        gate=candidate.verdict,
        checks=tuple(case.checks),
    )


def _before(name: str, standing: Standing) -> str:
    """Return the version that was in production before the present one, and still exists."""
    for version in former_versions(standing.entries, standing.aliases.production):
        if standing.has(version):
            return version
        what = "is another model now" if version in standing.digests else "is no longer there"
        _LOG.warning(f"{name}/{version} was in production and {what}: going further back")
    raise NotFoundError(
        "there is no version to go back to",
        where=name,
        got=f"in production: {standing.aliases.production or 'none'}, and none before it",
        hint=f"`modelbook history {name}` shows what was in production",
    )


def _unchanged(candidate: Candidate, stage: Stage) -> Promotion:
    return Promotion(
        name=candidate.name,
        version=candidate.version,
        local_version=candidate.local.version if candidate.local else None,
        stage=stage,
        is_changed=False,
        gate=candidate.verdict,
        notes=(f"it is in {stage.lower()} already: nothing was changed",),
    )


def _promotion(entry: LedgerEntry, case: _Case) -> Promotion:
    before = entry.before.production if entry.stage == "Production" else entry.before.staging
    before = None if before == entry.version else before
    return Promotion(
        name=entry.name,
        version=entry.version,
        local_version=entry.local_version,
        stage=entry.stage,
        previous=before,
        number=entry.number,
        reason=entry.reason,
        forced=entry.forced,
        gate=entry.gate,
        checks=entry.checks,
        notes=tuple(case.notes),
    )
