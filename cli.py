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
    build_diff,
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
app.command()(workspace.init)
app.command()(workspace.schema)
app.command("import")(intake.import_)
app.add_typer(policy.app, name="policy")
app.command()(mining.mine)
app.command()(synthesis.synthesize)
app.add_typer(judge.app, name="judge")
for report in (judge_reports.show, judge_reports.costs, judge_reports.compare, judge_reports.calibrate):
    judge.app.command()(report)
judge.app.add_typer(judge_batch.app, name="batch")
app.command()(judge.triage)
app.command()(monitoring.monitor)
app.add_typer(argilla.app, name="argilla")
review.app.command()(reviewers.agreement)
review.app.command()(reviewers.conflicts)
review.app.command()(reviewers.terminal)
review.app.command("next")(spending.next_)
review.app.command()(spending.suspicious)
app.add_typer(review.app, name="review")
app.add_typer(audit.app, name="audit")
app.command()(audit.certify)
app.command()(training.build)
app.command()(exporting.export)
app.command()(training.train)
app.command()(runs.runs)
app.command("push-model")(runs.push_model)
app.command()(evaluating.evaluate)
app.command()(evaluating.gate)
app.command("learning-curve")(experiments.learning_curve)
app.command()(experiments.ablation)
app.command()(experiments.sweep)
app.command()(answers.answers)
app.command()(reporting.report)
app.command()(lineage.lineage)
app.command()(build_diff.diff)
app.command()(verification.verify)
app.command()(forgetting.forget)
app.command()(workspace.status)
app.command()(workspace.demo)


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
