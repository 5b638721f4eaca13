"""The command line: which commands there are, and how errors end.

Nothing heavy is imported at the top, so that `uncited --help` answers at once.
"""

import errno
import os
import sys

import typer

from commands import (
    answers,
    argilla,
    audit,
    builds,
    certificates,
    evaluating,
    experiments,
    exporting,
    forgetting,
    intake,
    judge,
    judge_batch,
    judge_reports,
    lineage,
    mining,
    monitoring,
    policy,
    reporting,
    review,
    reviewers,
    runs,
    spending,
    synthesis,
    training,
    verification,
    workspace,
)
from store.errors import UserError

app = typer.Typer(
    name="uncited",
    help="Turn retrieval logs into training triplets that people have checked.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_START = "Start here"
_CANDIDATES = "From logs to candidates"
_LABELS = "From candidates to labels"
_MODELS = "From labels to models"
_WORTH = "What it is worth"
_EVIDENCE = "What stands behind it"

for start in (workspace.init, workspace.status, workspace.demo):
    app.command(rich_help_panel=_START)(start)

app.command(rich_help_panel=_CANDIDATES)(workspace.schema)
app.command("import", rich_help_panel=_CANDIDATES)(intake.import_)
app.add_typer(policy.app, name="policy", rich_help_panel=_CANDIDATES)
app.command(rich_help_panel=_CANDIDATES)(mining.mine)
app.command(rich_help_panel=_CANDIDATES)(synthesis.synthesize)

app.add_typer(judge.app, name="judge", rich_help_panel=_LABELS)
for report in (judge_reports.show, judge_reports.costs, judge_reports.compare, judge_reports.calibrate):
    judge.app.command()(report)
judge.app.add_typer(judge_batch.app, name="batch")
app.command(rich_help_panel=_LABELS)(judge.triage)
app.add_typer(argilla.app, name="argilla", rich_help_panel=_LABELS)
review.app.command()(reviewers.agreement)
review.app.command()(reviewers.conflicts)
review.app.command()(reviewers.terminal)
review.app.command("next")(spending.next_)
review.app.command()(spending.suspicious)
app.add_typer(review.app, name="review", rich_help_panel=_LABELS)
app.add_typer(audit.app, name="audit", rich_help_panel=_LABELS)
app.command(rich_help_panel=_LABELS)(certificates.certify)

app.command(rich_help_panel=_MODELS)(training.build)
app.command(rich_help_panel=_MODELS)(builds.builds)
app.command(rich_help_panel=_MODELS)(exporting.export)
app.command(rich_help_panel=_MODELS)(training.train)
app.command(rich_help_panel=_MODELS)(runs.runs)
app.command("push-model", rich_help_panel=_MODELS)(runs.push_model)

app.command(rich_help_panel=_WORTH)(evaluating.evaluate)
app.command(rich_help_panel=_WORTH)(evaluating.gate)
app.command("learning-curve", rich_help_panel=_WORTH)(experiments.learning_curve)
app.command(rich_help_panel=_WORTH)(experiments.ablation)
app.command(rich_help_panel=_WORTH)(experiments.sweep)
app.command(rich_help_panel=_WORTH)(answers.answers)
app.command(rich_help_panel=_WORTH)(reporting.report)
app.command(rich_help_panel=_WORTH)(monitoring.monitor)

app.command(rich_help_panel=_EVIDENCE)(lineage.lineage)
app.command(rich_help_panel=_EVIDENCE)(builds.diff)
app.command(rich_help_panel=_EVIDENCE)(verification.verify)
app.command(rich_help_panel=_EVIDENCE)(forgetting.forget)


def main() -> None:
    """Run a command; an error made for the user is printed without a traceback."""
    try:
        app()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        os._exit(129)  # as after SIGHUP: the terminal is gone, and nothing can be said to anybody, not even at exit
    except UserError as error:
        from printing import fail

        fail(error, as_json="--json" in sys.argv)


if __name__ == "__main__":
    main()
